"""The few prompts that are asked again and again: lines of a file, or rows of the data."""

from pathlib import Path

from threetoe.errors import UserError, reading
from threetoe.run.probes import short_rows
from threetoe.train.row_sets import RowSets

COUNT = 3  # rows


def read_prompts(file: Path) -> list[dict]:
    """A prompt a line; UserError where there is none."""
    with reading(file):
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    made = [
        {"where": f"{file.name}:{n}", "asked": [{"role": "user", "content": line.strip()}]}
        for n, line in enumerate(lines, 1)
        if line.strip()
    ]
    if not made:
        raise UserError(f"--sample-prompts {file} has no prompts; write one a line.")
    return made


def rows_to_ask(rows: RowSets) -> list[dict]:
    """Short rows with an answer, which stands beside what is asked; none of whole texts."""
    encoded, indices = rows.training, rows.trained
    if rows.validation:
        encoded, indices = rows.validation, rows.validated
    found = encoded.conversations.chosen(short_rows(encoded, indices, COUNT))
    return [
        {"where": row.where, "asked": row.messages[:-1], "expected": row.messages[-1]["content"]}
        for row in found
        if isinstance(row.messages, list) and row.messages[-1]["role"] == "assistant"
    ]
