"""Pairs of a concept and its description, asked of a model in batches until there are enough."""

import json
import re
from reprlib import repr as shortened

import click

from threetoe.commands.make_dataset.row_file import Account, appending, find_rows, folded
from threetoe.commands.make_dataset.server import asking, check_asked, of_whom
from threetoe.errors import Checks, Failure
from threetoe.machine.terminal import say, show_progress

BATCH = 10  # pairs a call
NAMED = 200  # concepts that a prompt names, the latest
SYSTEM = (
    "You write a glossary. An entry is a concept, named in a few words, and its description in one "
    "or two sentences that can be understood without the others. You answer in JSON alone."
)
SHAPE = '{"pairs": [{"concept": "...", "description": "..."}]}'
COLUMNS = ("concept", "description")
DECODER = json.JSONDecoder()
LENGTHS = {"concept": (1, 100), "description": (8, 1000)}  # characters


def make_topic(config) -> None:
    """Write pairs about the topic until there are enough; UserError before anything is asked."""
    checks = Checks(config.problems)
    plan = checks(check_asked, config)
    if not (config.topic or "").strip():
        checks.problems.append('Name a topic: make-dataset topic "how bread is made" -o rows.jsonl')
    found = checks(find_rows, config, COLUMNS)
    checks.done()
    concepts = [row["concept"] for row in found.rows]
    account = Account(config.n, "pairs are wanted", len(concepts), config.output)
    calls = -(-account.missing // BATCH)
    asked = f"{account.missing} to ask for, in at least {calls} calls{of_whom(config)}"
    there = f"{len(concepts)} of {config.n} pairs are there already, " if concepts else ""
    say(there + (asked if calls else "nothing to ask for"))
    if config.dry_run:
        for message in prompt_for(config, concepts, account.missing):
            click.echo(f"{message['role']}:\n{message['content']}\n")
    elif account.missing:
        longest = prompt_for(config, ["a concept of some words"] * min(config.n, NAMED), BATCH)
        ask = asking(config, plan, [longest])
        with appending(found, account) as write:
            ask_for_all(config, account, concepts, ask, write)
        say("\n".join(account.lines()))


def prompt_for(config, concepts: list[str], missing: int) -> list[dict]:
    """What the model is told in the next call."""
    text = (
        f"The glossary is about: {config.topic}\n\n"
        f"Give {min(BATCH, missing)} entries, as JSON of this shape: {SHAPE}"
    )
    if concepts:
        text += "\n\nIt has these already; give others:\n" + "\n".join(concepts[-NAMED:])
    return [
        {"role": "system", "content": config.system or SYSTEM},
        {"role": "user", "content": text},
    ]


def ask_for_all(config, account: Account, concepts: list[str], ask, write) -> None:
    """Ask until there are enough pairs; Failure when too many calls in a row brought none."""
    known, fruitless = set(map(folded, concepts)), 0
    while account.missing:
        question = prompt_for(config, concepts, account.missing)
        (answer,) = ask([question], fruitless, schema_of(min(BATCH, account.missing)))
        before = account.rows
        for pair in pairs_in(answer):
            fault = fault_of_pair(pair, known)
            if not fault and not account.missing:
                fault = "more than were asked for"
            if fault:
                account.leave_out(fault, shortened(pair["concept"]))
                continue
            write(pair)
            concepts.append(pair["concept"])
            known.add(folded(pair["concept"]))
        show_progress(f"pairs: {account.rows} of {account.wanted}")
        fruitless = 0 if account.rows > before else fruitless + 1
        if fruitless > config.retries:
            raise Failure(
                f"{fruitless} calls in a row brought no new pair (--retries {config.retries}); the "
                f"last answer begins with {shortened(answer)}."
            )


def schema_of(count: int) -> dict:
    """The JSON schema of an answer with at most `count` pairs."""
    pair = closed({name: {"type": "string"} for name in COLUMNS})
    pairs = {"type": "array", "items": pair, "minItems": 1, "maxItems": count}
    return {"name": "pairs", "strict": True, "schema": closed({"pairs": pairs})}


def closed(properties: dict) -> dict:
    """The schema of an object with these properties, all of them and no other."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def pairs_in(answer: str) -> list[dict]:
    """Every pair of an answer, as texts: from an object, a list, a fenced block, a line each, or
    as far as it goes where it is cut off."""
    found, end = [], 0
    for opening in re.finditer("{", answer):
        try:
            value, after = DECODER.raw_decode(answer, opening.start())
        except (ValueError, RecursionError):  # a brace in a sentence, or an answer cut off
            continue
        named = {name.strip().lower(): text for name, text in value.items()}
        if opening.start() >= end and set(COLUMNS) <= set(named):
            texts = {n: named[n] if isinstance(named[n], str) else "" for n in COLUMNS}
            found.append({name: " ".join(text.split()) for name, text in texts.items()})
            end = after
    return found


def fault_of_pair(pair: dict, known: set[str]) -> str | None:
    """Why a pair is no use; None where it is."""
    concept, description = folded(pair["concept"]), folded(pair["description"])
    if not concept or not description:
        return "concept or description is empty"
    for name, (least, most) in LENGTHS.items():
        if not least <= len(pair[name]) <= most:
            return f"the {name} has not {least} to {most} characters"
    if concept == description:
        return "the description is the concept again"
    return "the concept is there already" if concept in known else None
