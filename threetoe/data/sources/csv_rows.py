"""Reads rows of csv and tsv; a row with a cell too many is a fault, the others are read."""

import csv
import re
from collections.abc import Iterator
from itertools import islice

from threetoe.data.sources.text_file import MARK, TextFile
from threetoe.errors import UserError
from threetoe.messages import Unusable

TAB = "\t"
SEPARATORS = {",": "a comma", ";": "a semicolon", TAB: "a tab"}
LONGEST_CELL = 1 << 26  # characters; csv takes 4 bytes for each, so 256 MB
UNENDED = ("unexpected end of data", "field larger than field limit")


def read_table(file: TextFile, separator: str | None = None) -> Iterator:
    """Each row after the header, with the line that it starts on; empty lines are no rows.

    Without a separator it is what the first line has: commas, else semicolons, else tabs.
    """
    csv.field_size_limit(LONGEST_CELL)
    with file.reading(), file.open(newline="") as text:
        separator = separator or separator_of(file)
        rows = numbered(csv.reader(file.lines(text), delimiter=separator, strict=True), file)
        for line, cells in islice(rows, 1):
            header = checked_header(cells, f"{file.name}:{line}", file)
        for line, cells in rows:
            where = f"{file.name}:{line}"
            if isinstance(cells, Unusable):
                yield where, cells
            elif MARK in "".join(cells):
                yield where, file.not_decoded()
            elif len(cells) != len(header):
                count = "1 cell" if len(cells) == 1 else f"{len(cells)} cells"
                mending = f"quote texts with {SEPARATORS[separator]} in them"
                yield where, Unusable(f"has {count}, the header {len(header)}; {mending}")
            else:
                yield where, dict(zip(header, cells, strict=True))


def separator_of(file: TextFile) -> str:
    with file.open() as text:
        first = next((line for line in file.lines(text) if line.strip()), "")
    return next((mark for mark in SEPARATORS if mark in first), ",")


def numbered(reader, file: TextFile) -> Iterator[tuple[int, list[str] | Unusable]]:
    """(line that it starts on, cells or the fault) of every row that is not empty."""
    line = 1
    while True:
        try:
            for cells in reader:
                if cells:
                    yield line, cells
                line = reader.line_num + 1
            return
        except csv.Error as error:
            if str(error).startswith(UNENDED):
                raise unclosed(file, line, reader.line_num) from error
            yield line, Unusable(f"broken quotes: {error}; write a quote inside a text twice")
            line = reader.line_num + 1


def unclosed(file: TextFile, start: int, end: int) -> UserError:
    """The error for a quote that swallows the rest of a file, with the line where it opens."""
    opens, is_open = start, False
    with file.open(newline="") as text:
        for number, line in enumerate(text, 1):
            for quotes in re.findall('"+', line) if start <= number <= end else ():
                is_open ^= len(quotes) % 2  # two are a quote inside a text
                opens = number if is_open and len(quotes) % 2 else opens
    return UserError(
        f"{file.name}:{opens}: broken quotes: a quote opens here and never closes, so that all "
        "lines after it are lost; write a quote inside a text twice."
    )


def checked_header(cells: list[str] | Unusable, where: str, file: TextFile) -> list[str]:
    """The names of the columns; UserError when a file cannot be read by them."""
    if isinstance(cells, Unusable):
        raise UserError(f"{where}: the header has {cells}.")
    if MARK in "".join(cells):
        raise UserError(f"{where}: the header is {file.not_decoded()}.")
    if not any(map(str.strip, cells)):
        raise UserError(f"{where}: the first line is no header; write the columns' names there.")
    twice = [name for name in dict.fromkeys(cells) if cells.count(name) > 1]
    if twice:
        raise UserError(f"{where}: the header has the column '{twice[0]}' twice; rename one.")
    return cells
