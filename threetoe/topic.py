"""Pairs of a concept and its description, asked of a model in batches until there are enough."""

from collections import Counter

import click

from threetoe.asking import asking, check_asked, of_whom
from threetoe.errors import Checks, Failure
from threetoe.pairs import COLUMNS, pairs_in, problem_of, schema_of
from threetoe.row_file import appending, find_rows, folded, going_on, show_progress

BATCH = 10  # pairs a call
NAMED = 200  # concepts that a prompt names, the latest
SYSTEM = (
    "You write a glossary. An entry is a concept, named in a few words, and its description in one "
    "or two sentences that can be understood without the others. You answer in JSON alone."
)
SHAPE = '{"pairs": [{"concept": "...", "description": "..."}]}'


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
