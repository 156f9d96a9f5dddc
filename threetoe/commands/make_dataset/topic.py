"""Pairs of a concept and its description, asked of a model in batches until there are enough."""

import json
import re
from collections import Counter

import click

from threetoe.commands.make_dataset.asking import asking, check_asked, of_whom
from threetoe.commands.make_dataset.row_file import appending, find_rows, folded, going_on
from threetoe.errors import Checks, Failure
from threetoe.machine.terminal import show_progress

BATCH = 10  # pairs a call
NAMED = 200  # concepts that a prompt names, the latest
SYSTEM = (
    "You write a glossary. An entry is a concept, named in a few words, and its description in one "
    "or two sentences that can be understood without the others. You answer in JSON alone."
)
SHAPE = '{"pairs": [{"concept": "...", "description": "..."}]}'
COLUMNS = ("concept", "description")
OPENING = re.compile(r"[\[{]")  # of a list or an object
CONCEPT, DESCRIPTION = (1, 100), (8, 1000)  # characters


class Account:
    """The pairs that are there, and what became of those that were answered."""

    def __init__(self, pairs: list[str], wanted: int):
        self.concepts, self.wanted = pairs, wanted
        self.known = set(map(folded, pairs))
        self.calls, self.answered, self.reasons = 0, 0, Counter()

    @property
    def missing(self) -> int:
        return max(self.wanted - len(self.concepts), 0)

    def lines(self, output) -> list[str]:
        kept = self.answered - self.reasons.total()
        return [
            f"{len(self.concepts)} of {self.wanted} pairs in {output}",
            f"calls: {self.calls}, pairs that they brought: {self.answered}, new ones: {kept}",
            *(f"{count} left out: {reason}" for reason, count in self.reasons.most_common()),
        ]


def make_topic(config) -> None:
    """Write pairs about the topic until there are enough; UserError before anything is asked."""
    checks = Checks(config.problems)
    looks = config.dry_run
    plan = None
    if not looks or config.base_url or config.run:
        plan = checks(check_asked, config)
    if not (config.topic or "").strip():
        checks.problems.append('Name a topic: make-dataset topic "how bread is made" -o rows.jsonl')
    found = checks(find_rows, config.output, COLUMNS) if config.output or not looks else None
    checks.done()
    account = Account([row["concept"] for row in found.rows] if found else [], config.n)
    announce(config, account)
    if looks:
        for message in messages_of(config, account):
            click.echo(f"{message['role']}:\n{message['content']}\n")
        return
    if account.missing:
        carry_out(config, plan, account, found.end)


def announce(config, account: Account) -> None:
    calls = -(-account.missing // BATCH)
    there = f"{len(account.concepts)} of {account.wanted} pairs are there already, "
    asked = f"{account.missing} to ask for, in at least {calls} calls{of_whom(config)}"
    asked = asked if calls else "nothing to ask for"
    click.echo((there if account.concepts else "") + asked, err=True)


def messages_of(config, account: Account) -> list[dict]:
    """What the model is told in the next call."""
    count = min(BATCH, account.missing)
    text = (
        f"The glossary is about: {config.topic}\n\n"
        f"Give {count} entries, as JSON of this shape: {SHAPE}"
    )
    if account.concepts:
        text += "\n\nIt has these already; give others:\n" + "\n".join(account.concepts[-NAMED:])
    return [
        {"role": "system", "content": config.system or SYSTEM},
        {"role": "user", "content": text},
    ]


def carry_out(config, plan, account: Account, end: int) -> None:
    """Ask until there are enough pairs, or too many calls in a row brought none."""
    full = Account(["a concept of some words"] * min(config.n, NAMED), config.n + BATCH)
    with (
        going_on(lambda: account.lines(config.output)),
        asking(config, plan, [messages_of(config, full)]) as asker,
        appending(config.output, end) as write,
    ):
        ask_for_all(config, account, asker, write)
    click.echo("\n".join(account.lines(config.output)), err=True)


def ask_for_all(config, account: Account, asker, write) -> None:
    fruitless = 0
    while account.missing:
        schema = schema_of(min(BATCH, account.missing))
        (answer,) = asker.ask([messages_of(config, account)], fruitless, schema)
        before = len(account.concepts)
        take(pairs_in(answer), account, write)
        show_progress(f"pairs: {len(account.concepts)} of {account.wanted}")
        fruitless = 0 if len(account.concepts) > before else fruitless + 1
        if fruitless > config.retries:
            raise Failure(
                f"{fruitless} calls in a row brought no new pair (--retries {config.retries}); the "
                "last answer begins with "
                f"{' '.join(answer.split())[:60]!r}."
            )


def take(pairs: list[dict], account: Account, write) -> None:
    """Write the pairs that are of use, and count the others."""
    account.calls += 1
    for pair in pairs:
        account.answered += 1
        problem = problem_of(pair, account.known)
        if not problem and not account.missing:
            problem = "more than were asked for"
        if problem:
            account.reasons[problem] += 1
            continue
        write(pair)
        account.concepts.append(pair["concept"])
        account.known.add(folded(pair["concept"]))


def schema_of(count: int) -> dict:
    """The JSON schema of an answer with at most `count` pairs."""
    pair = {
        "type": "object",
        "properties": {name: {"type": "string"} for name in COLUMNS},
        "required": list(COLUMNS),
        "additionalProperties": False,
    }
    pairs = {"type": "array", "items": pair, "minItems": 1, "maxItems": count}
    shape = {
        "type": "object",
        "properties": {"pairs": pairs},
        "required": ["pairs"],
        "additionalProperties": False,
    }
    return {"name": "pairs", "strict": True, "schema": shape}


def pairs_in(answer: str) -> list[dict]:
    """Every pair of an answer, as texts: from an object, a list, a fenced block, a line each, or
    as far as it goes where it is cut off."""
    found, place = [], 0
    while start := OPENING.search(answer, place):
        value, place = json_at(answer, start.start())
        found += pairs_of(value)
    return found


def json_at(text: str, place: int) -> tuple:
    """(the JSON value that starts here, its end); (None, the next place) where none does."""
    try:
        return json.JSONDecoder().raw_decode(text, place)
    except (ValueError, RecursionError):  # a bracket in a sentence, or an answer cut off
        return None, place + 1


def pairs_of(value) -> list[dict]:
    """The pairs of a JSON value, however deep."""
    if isinstance(value, list):
        return [pair for item in value for pair in pairs_of(item)]
    if not isinstance(value, dict):
        return []
    named = {str(name).strip().lower(): item for name, item in value.items()}
    if set(COLUMNS) <= set(named):
        return [{name: as_text(named[name]) for name in COLUMNS}]
    return [pair for item in value.values() for pair in pairs_of(item)]


def as_text(value) -> str:
    return " ".join(value.split()) if isinstance(value, str) else ""


def problem_of(pair: dict, known: set[str]) -> str | None:
    """Why a pair is no use; None where it is."""
    concept, description = folded(pair["concept"]), folded(pair["description"])
    if not concept or not description:
        return "concept or description is empty"
    for name, (least, most) in zip(COLUMNS, (CONCEPT, DESCRIPTION), strict=True):
        if not least <= len(pair[name]) <= most:
            return f"the {name} has not {least} to {most} characters"
    if concept == description:
        return "the description is the concept again"
    return "the concept is there already" if concept in known else None
