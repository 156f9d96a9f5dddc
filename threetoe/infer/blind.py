"""Pairs of answers of base and run, unnamed and in random order: which one is the better?"""

from collections import Counter
from random import Random

import click

from threetoe.machine.files import write_json
from threetoe.machine.terminal import say, visible
from threetoe.options.infer import InferConfig
from threetoe.run.score import chance

KEYS = {"1": 0, "2": 1, "=": None}
NAMES = {"answer": "trained", "base": "base"}  # by the field of a row
SIDES = ("trained", "base", "neither")


def compare(rows: list[dict], config: InferConfig) -> None:
    """Ask about --blind pairs that differ; each word is kept at once, and Ctrl-C ends it."""
    pairs = [row for row in rows if row["base"].split() != row["answer"].split()]
    draw, given = Random(config.seed), []
    chosen = draw.sample(pairs, min(config.blind, len(pairs)))
    place = config.output.with_name(f"{config.output.stem}.blind.json")
    say(f"{len(rows) - len(pairs)} of {len(rows)} answers of base and run are the same")
    for number, row in enumerate(chosen, 1):
        sides = draw.sample(list(NAMES), 2)
        show(f"{number} of {len(chosen)}", row, sides)
        try:
            key = click.prompt("the better one", type=click.Choice(KEYS), err=True)
        except click.Abort:  # Ctrl-C, Ctrl-D
            say("")
            break
        better = "neither" if key == "=" else NAMES[sides[KEYS[key]]]
        given.append({"where": row["where"], "better": better})
        write_json(place, {**counted(given), "given": given})
    if given:
        counts = counted(given)
        p = chance.said(counts["p"])
        say("preferred: " + ", ".join(f"{name} {counts[name]}" for name in SIDES) + f" ({p})")
        say(f"kept in {place}")


def counted(given: list[dict]) -> dict:
    """How often which was preferred, and how likely chance alone splits it so (sign test)."""
    counts = Counter(one["better"] for one in given)
    p = chance.sign_test(counts["trained"], counts["base"])
    return {**{name: counts[name] for name in SIDES}, "p": p}


def show(heading: str, row: dict, sides: list[str]) -> None:
    asked = row["messages"][-1]
    question = "\n".join(filter(None, (asked["content"], asked.get("input"))))
    say(f"\n[{heading}] {question}")
    for number, side in enumerate(sides, 1):
        say(f"\n{number}: {visible(row[side])}")
