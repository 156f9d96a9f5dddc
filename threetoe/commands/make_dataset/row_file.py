"""A jsonl file that grows a row at a time, and is gone on with after any interruption."""

import json
import re
import unicodedata
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import click

from threetoe.errors import Failure, UserError, reading
from threetoe.machine.files import check_writable
from threetoe.machine.terminal import clear_line


class Found(NamedTuple):
    """What a file holds already."""

    rows: list[dict]
    end: int  # bytes of whole rows; what is behind was half-written


def find_rows(path: Path | None, columns: tuple[str, ...]) -> Found:
    """The rows of a file; none where it does not exist yet. UserError where it holds anything
    else than rows of these columns, or cannot be written."""
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
    rows, end = [], 0
    lines = content.split(b"\n")
    for number, line in enumerate(lines, 1):
        row = parsed(line)
        if row is None and number == len(lines):
            break  # half a row, or nothing behind the last line break
        if not is_row(row, columns):
            raise UserError(
                f"--output {path}: line {number} is no row of {', '.join(columns)}; "
                "name another file."
            )
        rows.append(row)
        end = min(end + len(line) + 1, len(content))
    return Found(rows, end)


def parsed(line: bytes):
    """What a line of JSON says; None where it is not whole."""
    try:
        return json.loads(line.decode("utf-8"))
    except ValueError:  # JSONDecodeError and UnicodeDecodeError are such
        return None


def is_row(row, columns: tuple[str, ...]) -> bool:
    return (
        isinstance(row, dict)
        and set(row) == set(columns)
        and all(isinstance(value, str) for value in row.values())
    )


@contextmanager
def appending(path: Path, end: int):
    """Yields a function that writes a row behind byte `end` of the file, whole and at once."""
    with path.open("ab+") as file:
        if file.seek(0, 2) > end:
            file.truncate(end)
            click.echo(f"{path}: a half-written last line is dropped", err=True)
        file.seek(max(end - 1, 0))
        if end and file.read(1) != b"\n":
            file.write(b"\n")

        def write(row: dict) -> None:
            file.write(json.dumps(row, ensure_ascii=False).encode("utf-8") + b"\n")
            file.flush()

        try:
            yield write
        finally:
            if file.seek(0, 2) == 0:
                path.unlink()  # nothing came: no file


@contextmanager
def going_on(lines):
    """Work that can be gone on with: where it is stopped or fails, `lines()` say how far it is."""
    try:
        yield
    except (KeyboardInterrupt, Failure, OSError):
        clear_line()
        click.echo("\n".join([*lines(), "The same command goes on from there."]), err=True)
        raise
    clear_line()


def folded(text: str) -> str:
    """A text without what does not make it another: case, punctuation, space, forms of letters."""
    return " ".join(re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold()))
