"""Two files of answers side by side: how many are exactly right, and rows that the base got wrong.

python infer.py --file sentiment --no-adapter --output before.jsonl
python infer.py --file sentiment --output after.jsonl
python examples/before_after.py before.jsonl after.jsonl
"""

import json
import sys
from pathlib import Path
from unicodedata import east_asian_width

WIDEST = 44  # columns of a cell
ROWS = 6  # each with another expected answer


def read_answers(path):
    """The rows that infer.py --output wrote, by their place in the data."""
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    return {row["where"]: row for row in map(json.loads, lines)}


def table_of(before, after):
    """The table as rows of cells."""
    yield "", "expected", "base", "trained"
    rights = [
        sum(row["answer"] == row["expected"] for row in answers.values())
        for answers in (before, after)
    ]
    yield "exactly right", "", *(f"{right} of {len(before)}" for right in rights)
    shown = set()
    for where, row in before.items():
        expected = row["expected"]
        if row["answer"] != expected and expected not in shown and len(shown) < ROWS:
            shown.add(expected)
            question = row.get("input") or row["instruction"]
            yield question, expected, row["answer"], after[where]["answer"]


def width(text):
    """Columns of a terminal; Chinese characters take two."""
    return sum(2 if east_asian_width(character) in "WF" else 1 for character in text)


def fitted(text):
    """A text on one line, cut to the widest that a cell may be."""
    text = " ".join(text.split())
    if width(text) <= WIDEST:
        return text
    while width(text) >= WIDEST:
        text = text[:-1]
    return text + "…"


def main(before, after):
    rows = [list(map(fitted, row)) for row in table_of(read_answers(before), read_answers(after))]
    widths = [max(map(width, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [text + " " * (most - width(text)) for text, most in zip(row, widths, strict=True)]
        print("  ".join(cells).rstrip())


if __name__ == "__main__":
    main(*sys.argv[1:])
