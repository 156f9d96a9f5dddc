"""What a recipe does to a row: finds its columns, spells out codes, fills in {column}s."""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from threetoe.data.columns import alike
from threetoe.errors import UserError, did_you_mean
from threetoe.messages import Skipped, Unusable, code_of, is_blank

SLOT = re.compile(r"\{\{|\}\}|\{([^{}]+?)(\??)\}")
HIDDEN = "-1"  # the label of the Hub's test splits whose answers are kept secret


class Slot(NamedTuple):
    name: str  # a column, or a place in one: translation.de, answers.0
    optional: bool  # {column?}: may be missing or empty


class Columns:
    """Finds columns in the rows of a dataset: by name, else ignoring upper and lower case."""

    def __init__(self, dataset: str):
        self.dataset = dataset
        self.there: set[str] = set()  # what some row has had

    def find(self, row: dict, name: str) -> str | None:
        """The row's column of a name, or None."""
        return name if name in row else alike(name, tuple(row))

    def of(self, row: dict, name: str) -> str:
        """The row's column of a name; UserError when no row has had it, else Unusable."""
        column = self.find(row, name)
        if column is not None:
            self.there.add(name)
            return column
        if name in self.there:
            raise Unusable(f"no column '{name}'")
        raise UserError(
            f"The dataset '{self.dataset}' needs a column '{name}', which the rows do not have."
            f"{did_you_mean(name, row)} Theirs: {', '.join(map(str, row))}. Name yours with "
            f"--map {name}=COLUMN."
        )

    def value(self, row: dict, slot: Slot):
        """What stands in a slot's place; None where an optional one has nothing."""
        if slot.name in row:
            self.there.add(slot.name)
            return row[slot.name]
        head, *path = slot.name.split(".")
        if slot.optional and self.find(row, head) is None:
            return None
        value = row[self.of(row, head)]
        for key in path:
            value = below(value, key, slot)
        return value


def below(value, key: str, slot: Slot):
    """An entry of an object or a list; Unusable when it has none."""
    if isinstance(value, dict) and key in value:
        return value[key]
    if isinstance(value, list) and key.isdecimal() and int(key) < len(value):
        return value[int(key)]
    if slot.optional:
        return None
    raise Unusable(f"{slot.name} is not there")


def parts_of(text: str) -> list[str | Slot]:
    """'a {b}' -> ['a ', Slot('b')]; {{ and }} are braces. ValueError when a brace stands alone."""
    parts, end = [], 0
    for match in SLOT.finditer(text):
        name, optional = match.groups()
        parts += [own_words(text[end : match.start()])]
        parts += [Slot(name.strip(), bool(optional)) if name else match[0][0]]
        end = match.end()
    return [part for part in [*parts, own_words(text[end:])] if part]


def own_words(text: str) -> str:
    if "{" in text or "}" in text:
        raise ValueError("a brace stands alone; a column is {column}, a brace itself {{ or }}")
    return text


def spread(rows, change: Callable) -> Iterator:
    """The list of (where, row) that `change(where, row)` makes of each row; those that are Unusable
    stay, those that cannot be changed become so."""
    for where, row in rows:
        try:
            if isinstance(row, Unusable):
                raise row
            made = change(where, row)
        except Unusable as reason:
            made = [(where, reason)]
        yield from made


def mapped(rows, change: Callable[[dict], dict]) -> Iterator:
    """The rows, changed one by one, as `spread` does it."""
    return spread(rows, lambda where, row: [(where, change(row))])


def items_of(rows, column: str, columns: Columns) -> Iterator:
    """A row for every item of a column's list, 'my.json:7 (2 of 4)'."""

    def change(where, row):
        name = columns.of(row, column)
        items = list_in(row, name)
        return [
            (f"{where} ({number} of {len(items)})", {**row, name: item})
            for number, item in enumerate(items, 1)
        ]

    return spread(rows, change)


def list_in(row: dict, column: str) -> list:
    value = row[column]
    if not isinstance(value, list):
        raise Unusable(f"{column} is {type(value).__name__}, not a list")
    if not value:
        raise Unusable(f"{column} is empty")
    return value


def labelled(rows, labels: dict, skip: dict, columns: Columns, answered: bool) -> Iterator:
    """The rows without those to skip, their codes as texts."""
    texts = {name: {code_of(c): t for c, t in codes.items()} for name, codes in labels.items()}
    patterns = {name: re.compile(pattern) for name, pattern in skip.items()}

    def change(row):
        for name, pattern in patterns.items():
            value = row[columns.of(row, name)]
            if not is_blank(value) and pattern.search(str(value)):
                raise Skipped(f"skipped by the recipe: {name} matches {pattern.pattern}")
        spelled = {}
        for name, codes in texts.items():
            if not answered and columns.find(row, name) is None:
                continue
            column = columns.of(row, name)
            spelled[column] = label_of(row[column], name, codes, answered)
        return {**row, **spelled}

    return mapped(rows, change)


def label_of(value, name: str, codes: dict[str, str], answered: bool) -> str | None:
    code = code_of(value)
    if code in codes:
        return codes[code]
    if not answered:
        return None
    if is_blank(value):
        raise Unusable(f"{name} is empty")
    if code == HIDDEN:
        raise Unusable(f"{name} is -1: this split's answers are hidden, take another")
    raise Unusable(f"{name} is {code[:40]}, not one of {', '.join(codes)}")


def rendered(rows, fields: dict[str, str], columns: Columns, answered: bool) -> Iterator:
    """{system, instruction, input, output}, their {column}s filled in, once and never again."""
    parts = {field: parts_of(text) for field, text in fields.items()}

    def change(row):
        result = {}
        for field, pieces in parts.items():
            try:
                result[field] = fill(pieces, row, columns)
            except (Unusable, UserError):
                if answered or field != "output":
                    raise
        return result

    return mapped(rows, change)


def fill(parts: list[str | Slot], row: dict, columns: Columns):
    """The text of a field; a field that is one slot and nothing else has the value as it is."""
    if len(parts) == 1 and isinstance(parts[0], Slot):
        value = columns.value(row, parts[0])
        return listed(value, parts[0].name) if isinstance(value, list) else value
    return "".join(p if isinstance(p, str) else text_in(row, p, columns) for p in parts)


def text_in(row: dict, slot: Slot, columns: Columns) -> str:
    value = columns.value(row, slot)
    if is_blank(value):
        if slot.optional:
            return ""
        raise Unusable(f"{slot.name} is empty")
    return listed(value, slot.name)


def listed(value, name: str) -> str:
    """A text, a number as text, or a list of them with commas between."""
    items = value if isinstance(value, list) else [value]
    for item in items:
        if not isinstance(item, (str, bool, int, float)):
            raise Unusable(f"{name} is {type(item).__name__}, not text")
    return ", ".join(map(str, items))
