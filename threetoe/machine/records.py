"""Records, which may be anyone's and damaged: JSON is read with the types that a reader declares.

A type is a TypedDict, a dataclass or an annotation, as msgspec takes them; keys that it does not
name may hold anything.
"""

import json
import stat
from pathlib import Path

from threetoe.errors import UserError, first_line, reading

MOST_BYTES = 100_000_000  # of a record, as safetensors limits its headers


def read_json(file: Path, kind=dict):
    """What a JSON file holds; UserError when it is missing, damaged, or of other types."""
    return parse_json(read_text(file), kind, file)


def read_lines(file: Path, kind=dict) -> list:
    """What each line of a file holds; none where there is no such file."""
    lines = read_text(file).split("\n") if file.exists() else []  # not splitlines: U+2028 is text
    numbered = enumerate(lines, 1)
    return [parse_json(line, kind, f"{file}:{number}") for number, line in numbered if line]


def read_text(file: Path) -> str:
    """The text of a record; UserError for a pipe or device, which may never end."""
    with reading(file):
        facts = file.stat()
        if not stat.S_ISREG(facts.st_mode) or facts.st_size > MOST_BYTES:
            most = f"{MOST_BYTES // 10**6} MB"
            raise UserError(f"{file} is no record: it is not a file, or has more than {most}.")
        return file.read_text(encoding="utf-8")


def parse_json(text: str | bytes, kind, place):
    """What a JSON text from `place` stands for; UserError when a key stands in it twice."""
    try:
        values = json.loads(text, object_pairs_hook=without_doubles)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{place} is damaged: {first_line(error).rstrip('.')}.") from error
    of_kind(values, kind, place)
    return values


def without_doubles(pairs: list[tuple]) -> dict:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        double = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"'{double}' stands in it twice; keep one")
    return values


def of_kind(values, kind, place):
    """The values as `kind` has them, such as tuples for lists; UserError for what it cannot be."""
    import msgspec

    try:
        return msgspec.convert(values, kind)
    except (msgspec.ValidationError, RecursionError) as error:
        said = first_line(error).replace("`", "").replace(" - at $", ", at ").replace("at .", "at ")
        raise UserError(f"{place} is damaged: {said}.") from error
