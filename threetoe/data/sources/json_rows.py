"""Reads rows of JSON as they stream by: a list of objects, a list in an object, a row a line."""

import json
from collections.abc import Iterator

from threetoe.data.sources.json_stream import Cursor, pass_over
from threetoe.data.sources.text_file import MARK, TextFile
from threetoe.errors import UserError, did_you_mean, first_line
from threetoe.messages import Unusable

LONGEST_LINE = 1 << 25  # characters; in a longer one, no row is looked for
DEEPEST = 4  # objects in objects where a list of rows is looked for


def read_json(file: TextFile) -> Iterator:
    """The rows of a list, or of the list at --field; or of a .json that has an object a line."""
    with file.reading(), file.open() as text:
        cursor = Cursor(text, file.name)
        first = cursor.peek()
        if first == "":
            return
        if file.field is not None:
            yield from rows_in_field(cursor, file)
        elif first == "[":
            yield from rows_of(cursor, file)
            if cursor.peek():
                raise cursor.broken("more text after the list's ']'")
        elif first == "{" and has_row_a_line(cursor):
            yield from read_jsonl(file)
        elif first == "{":
            raise no_list(cursor)
        else:
            raise UserError(
                f"{file.name}:{cursor.here()}: a .json file holds a list of rows, "
                f"[{{...}}, {{...}}]{mending_of_marks(cursor, file)}."
            )


def mending_of_marks(cursor: Cursor, file: TextFile) -> str:
    return f"; {file.mending()}" if cursor.text.startswith(MARK, cursor.place) else ""


def rows_of(cursor: Cursor, file: TextFile) -> Iterator:
    for line, row in cursor.items():
        yield f"{file.name}:{line}", file.not_decoded() if cursor.marked else checked_row(row)


def checked_row(row):
    """The row, or the fault that it is no object."""
    if isinstance(row, dict):
        return row
    return Unusable(f"a row is an object with columns, not {type(row).__name__}")


def rows_in_field(cursor: Cursor, file: TextFile) -> Iterator:
    """The rows of the list at --field a.b; UserError when there is none."""
    passed, line = [], cursor.here()
    for name in file.field.split("."):
        keys = cursor.fields() if cursor.peek() == "{" else iter(())
        find_key(cursor, keys, name, f"{file.name}:{line}: --field {file.field}")
        passed.append(keys)
    if cursor.peek() != "[":
        place = f"{file.name}:{cursor.here()}"
        raise UserError(f"{place}: --field {file.field}: '{name}' holds no list of rows.")
    yield from rows_of(cursor, file)
    for keys in reversed(passed):  # the rest of each object, so that one cut short is noticed
        for _ in keys:
            pass_over(cursor)
    if cursor.peek():
        raise UserError(
            f"{file.name}:{cursor.here()}: --field {file.field}: more follows the object with it; "
            "of a file with a row on each line, every line is a row."
        )


def find_key(cursor: Cursor, keys: Iterator[str], name: str, asked: str) -> None:
    seen = []
    for key in keys:
        if key == name:
            return
        seen.append(key)
        pass_over(cursor)
    there = f" Its fields: {', '.join(seen)}." if seen else ""
    raise UserError(f"{asked}: there is no field '{name}'.{did_you_mean(name, seen)}{there}")


def has_row_a_line(cursor: Cursor) -> bool:
    """Whether the object at the place is a row alone on its line, or a line that follows is.

    One object alone is a row when it holds no list of rows itself.
    """
    while "\n" not in cursor.text[cursor.place :] and len(cursor.text) < LONGEST_LINE:
        cursor.more()
        if cursor.ended:
            break
    first, *others = cursor.text[cursor.place :].split("\n", 3)[:3]
    try:
        row = json.loads(first)
    except json.JSONDecodeError as error:
        goes_on = error.pos >= len(first.rstrip())
        return not goes_on and any(map(is_row, others))
    except (ValueError, RecursionError):
        return any(map(is_row, others))
    return any(map(str.strip, others)) or not holds_rows(row)


def is_row(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def holds_rows(value) -> bool:
    """Whether an object has a list of objects in it, or in an object of it."""
    if isinstance(value, list):
        return bool(value) and isinstance(value[0], dict)
    return isinstance(value, dict) and any(map(holds_rows, value.values()))


def no_list(cursor: Cursor) -> UserError:
    """The error for a .json of one object, with the --field that would help."""
    line = cursor.here()
    fields = list(fields_with_rows(cursor))
    if not fields:
        hint = "; with a row on each line, call it .jsonl"
    else:
        hint = f"; its rows may be those of '{fields[0]}': --field {fields[0]}"
        if fields[1:]:
            hint = f"; say which list of it with --field: {', '.join(fields)}"
    return UserError(f"{cursor.name}:{line}: holds one object, not a list of rows{hint}.")


def fields_with_rows(cursor: Cursor, above: tuple = ()) -> Iterator[str]:
    """The fields, as --field takes them, that hold a list of objects."""
    for key in cursor.fields():
        place, char = (*above, key), cursor.peek()
        if char == "{" and len(place) < DEEPEST:
            yield from fields_with_rows(cursor, place)
        elif char == "[":
            has_rows = [isinstance(v, dict) for n, (_, v) in enumerate(cursor.items()) if n == 0]
            yield from [".".join(place)] * (has_rows == [True])
        else:
            pass_over(cursor)


def read_jsonl(file: TextFile) -> Iterator:
    """An object on each line; a line that is none is a fault of its own."""
    with file.reading(), file.open() as text:
        for number, line in enumerate(text, 1):
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
                yield where, row if type(row) is dict else checked_row(row)
