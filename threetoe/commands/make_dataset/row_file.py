"""A jsonl file that grows a row at a time, and is gone on with after any interruption."""

import json
import re
import unicodedata
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from threetoe.errors import Failure, UserError, reading
from threetoe.machine.files import check_writable
from threetoe.machine.terminal import clear_line, say


class Account:
    """What became of what was asked for: rows, and the reasons for leaving others out."""

    def __init__(self, wanted: int, what: str, rows: int, output: Path | None):
        self.wanted, self.what, self.rows, self.output = wanted, what, rows, output
        self.reasons: Counter[str] = Counter()
        self.first: dict[str, str] = {}
        self.settles = False  # whether what was left out is not wanted any more

    @property
    def missing(self) -> int:
        settled = self.reasons.total() if self.settles else 0
        return max(self.wanted - self.rows - settled, 0)

    def leave_out(self, reason: str, where: str) -> None:
        self.reasons[reason] += 1
        self.first.setdefault(reason, where)

    def lines(self) -> list[str]:
        return [
            f"{self.wanted} {self.what}, {self.rows} rows in {self.output}",
            *(f"{n} left out: {r} (first: {self.first[r]})" for r, n in self.reasons.most_common()),
            *([f"{self.missing} not asked yet"] if self.missing else []),
        ]


class Found(NamedTuple):
    """What a file holds already."""

    rows: list[dict]
    end: int  # bytes of whole rows; what is behind was half-written


def find_rows(config, columns: tuple[str, ...]) -> Found:
    """The rows of --output; none where it does not exist yet. UserError where it holds anything
    else than rows of these columns, or cannot be written."""
    path = config.output
    if path is None and config.dry_run:
        return Found([], 0)
    if path is None:
        raise UserError("Where do the rows go? Name a file: -o rows.jsonl.")
    if path.suffix.lower() != ".jsonl":
        raise UserError(f"--output {path}: train.py knows rows of JSON by the ending .jsonl.")
    if not path.parent.is_dir():
        raise UserError(f"--output {path}: there is no folder {path.parent}.")
    if not path.exists():
        check_writable(path, "--output")
        return Found([], 0)
    with reading(path), path.open("rb+") as file:  # + asks whether it may be written to
        content = file.read()
    whole, newline, _ = content.rpartition(b"\n")
    lines = whole.split(b"\n") if newline else []
    return Found(
        [row_in(line, f"--output {path}: line {n}", columns) for n, line in enumerate(lines, 1)],
        len(whole + newline),
    )


def row_in(line: bytes, place: str, columns: tuple[str, ...]) -> dict:
    try:
        row = json.loads(line.decode("utf-8"))
    except ValueError:  # JSONDecodeError and UnicodeDecodeError are such
        row = None
    is_row = isinstance(row, dict) and set(row) == set(columns)
    if not is_row or not all(isinstance(value, str) for value in row.values()):
        raise UserError(f"{place} is no row of {', '.join(columns)}; name another file.")
    return row


@contextmanager
def appending(found: Found, account: Account):
    """Yields a function that writes a row behind those that were found, whole and at once. Where
    work is stopped or fails, the account says how far it is."""
    path = account.output
    with path.open("ab") as file:
        if file.tell() > found.end:
            file.truncate(found.end)
            say(f"{path}: a half-written last line is dropped")

        def write(row: dict) -> None:
            file.write(json.dumps(row, ensure_ascii=False).encode("utf-8") + b"\n")
            file.flush()
            account.rows += 1

        try:
            yield write
        except (KeyboardInterrupt, Failure, OSError):
            say("\n".join([*account.lines(), "The same command goes on from there."]))
            raise
        finally:
            clear_line()
            if not account.rows:
                path.unlink()  # nothing came: no file


def folded(text: str) -> str:
    """A text without what does not make it another: case, punctuation, space, forms of letters."""
    return " ".join(re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold()))
