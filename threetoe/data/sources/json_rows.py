"""Reads rows of JSON: a list of objects, a list in an object, an object a line.

A .json is held as text, and of its values one row at a time; a .jsonl streams by.
"""

import json
import re
from collections.abc import Iterator

from threetoe.data.sources.text_file import MARK, TextFile
from threetoe.errors import UserError, did_you_mean, first_line
from threetoe.messages import Unusable

DEEPEST = 4  # objects in objects where a list of rows is looked for
SPACE = re.compile(r"[ \t\n\r]*").match
DECODER = json.JSONDecoder()


def read_json(file: TextFile) -> Iterator:
    """The rows of a list, or of the list at --field; or of a .json that has an object a line."""
    with file.reading():
        place = Place(file.whole(), file)
        first = place.peek()
        if file.field is not None and first:
            yield from rows_in_field(place, file.field.split("."))
        elif first == "[":
            yield from rows_of(place)
        elif first == "{":
            yield from rows_of_objects(place)
        elif first:
            mending = f"; {file.mending()}" if first == MARK else ""
            raise UserError(
                f"{file.name}:{place.line()}: a .json file holds a list of rows, [{{...}}, "
                f"{{...}}]{mending}."
            )
        if (first == "[" or file.field is not None) and place.peek():
            raise place.broken("more text behind its end")


class Place:
    """A place in a JSON text, which moves behind what is read."""

    def __init__(self, text: str, file: TextFile):
        self.text, self.file, self.at = text, file, 0
        self.counted = (1, 0)  # a line, and where it was counted

    def line(self, ahead: int = 0) -> int:
        """The line of the place, or of what stands so far ahead."""
        line, seen = self.counted
        self.counted = line + self.text.count("\n", seen, self.at), self.at
        return self.counted[0] + self.text.count("\n", self.at, self.at + ahead)

    def peek(self) -> str:
        """The next character that is no space, which is where the place is then; '' at the end."""
        self.at = SPACE(self.text, self.at).end()
        return self.text[self.at : self.at + 1]

    def value(self):
        try:
            value, self.at = DECODER.raw_decode(self.text, self.at)
        except json.JSONDecodeError as error:
            raise self.broken(error.msg, error.pos - self.at) from error
        except (ValueError, RecursionError) as error:  # a number too long, brackets too deep
            raise self.broken(first_line(error)) from error
        return value

    def parts(self, closing: str, what: str) -> Iterator:
        """Stops at every part of the list or object at the place, to be read before the next."""
        self.at += 1
        char = "," if self.peek() != closing else closing
        while char == ",":
            self.peek()
            yield
            char = self.peek()
            if char not in {",", closing}:
                raise self.broken(f"expected ',' or '{closing}' {what}")
            self.at += char == ","
        self.at += 1

    def items(self) -> Iterator[tuple[int, object, bool]]:
        """(line, value, whether bytes of it are not of the encoding) of each item of a list."""
        for _ in self.parts("]", "after a row"):
            line, start = self.line(), self.at
            value = self.value()
            yield line, value, self.text.find(MARK, start, self.at) >= 0

    def keys(self) -> Iterator[str]:
        """The keys of the object at the place, which is at each one's value meanwhile."""
        for _ in self.parts("}", "in an object"):
            if self.peek() != '"':
                raise self.broken("expected a name in quotes")
            key = self.value()
            if self.peek() != ":":
                raise self.broken("expected ':' after a name")
            self.at += 1
            self.peek()
            start = self.at
            yield key
            if self.at == start:
                self.value()

    def broken(self, problem: str, ahead: int = 0) -> UserError:
        where = f"{self.file.name}:{self.line(ahead)}"
        return UserError(f"{where}: broken JSON: {problem.rstrip('.: ')}.")


def rows_of(place: Place) -> Iterator:
    for line, row, is_marked in place.items():
        yield f"{place.file.name}:{line}", place.file.not_decoded() if is_marked else as_row(row)


def as_row(row):
    """The row, or the fault that it is no object."""
    if isinstance(row, dict):
        return row
    return Unusable(f"a row is an object with columns, not {type(row).__name__}")


def rows_in_field(place: Place, names: list[str]) -> Iterator:
    """The rows of the list at --field a.b; UserError when there is none. What stands behind it is
    read too, so that a file cut short is noticed."""
    asked = f"{place.file.name}:{place.line()}: --field {place.file.field}"
    name, seen, found = names[0], [], False
    for key in place.keys() if place.peek() == "{" else ():
        seen.append(key)
        if key != name or found:
            continue
        found = True
        if names[1:]:
            yield from rows_in_field(place, names[1:])
        elif place.peek() == "[":
            yield from rows_of(place)
        else:
            line = f"{place.file.name}:{place.line()}: --field {place.file.field}"
            raise UserError(f"{line}: '{name}' holds no list of rows.")
    if not found:
        there = f" Its fields: {', '.join(seen)}." if seen else ""
        raise UserError(f"{asked}: there is no field '{name}'.{did_you_mean(name, seen)}{there}")


def rows_of_objects(place: Place) -> Iterator:
    """The rows of a .json that has an object a line; UserError where it is one object over many
    lines, or one with a list of rows in it."""
    first, *others = (line for line in place.text[place.at :].split("\n", 3)[:3] if line.strip())
    if any(map(is_row, others)) or (is_row(first) and (others or not lists_in(json.loads(first)))):
        return read_jsonl(place.file)
    line, fields = place.line(), lists_in(place.value())
    hint = "; with a row on each line, call it .jsonl"
    if fields:
        hint = f"; its rows may be those of '{fields[0]}': --field {fields[0]}"
    if fields[1:]:
        hint = f"; say which list of it with --field: {', '.join(fields)}"
    raise UserError(f"{place.file.name}:{line}: holds one object, not a list of rows{hint}.")


def is_row(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def lists_in(value: dict, above: tuple = ()) -> list[str]:
    """The fields, as --field takes them, that hold a list of objects."""
    found = []
    for key, below in value.items():
        place = (*above, key)
        if isinstance(below, dict) and len(place) < DEEPEST:
            found += lists_in(below, place)
        elif isinstance(below, list) and below and isinstance(below[0], dict):
            found.append(".".join(place))
    return found


def read_jsonl(file: TextFile) -> Iterator:
    """An object on each line; a line that is none is a fault of its own."""
    with file.reading(), file.open() as text:
        for number, line in enumerate(file.lines(text), 1):
            where = f"{file.name}:{number}"
            if MARK in line:
                yield where, file.not_decoded()
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                if line.strip():
                    yield where, Unusable(f"broken JSON: {error.msg.rstrip(': ')}")
            except (ValueError, RecursionError) as error:
                yield where, Unusable(f"broken JSON: {first_line(error)}")
            else:
                yield where, as_row(row)
