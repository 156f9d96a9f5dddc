"""Recipe files: read from YAML, their options filled in, and what is wrong, line by line."""

import re
from collections.abc import Iterable
from pathlib import Path

from threetoe.catalog import lines_of, read_yaml
from threetoe.errors import UserError
from threetoe.recipe_check import SPLITS, problems_of
from threetoe.recipe_formats import arguments_of
from threetoe.recipe_options import choices_of, choose, texts_of
from threetoe.recipe_row import parts_of


def read_values(path: Path, name: str, given: Iterable[tuple[str, str]]) -> dict:
    """The fields of a recipe.Recipe; UserError with a line for everything that is wrong."""
    values, lines = read_yaml(path), lines_of(path)
    if not isinstance(values, dict):
        raise UserError(f"{path}:1: a dataset has lines such as 'train: rows.jsonl'.")
    problems = [f"{path}:{line_of(place, lines)}: {what}" for place, what in problems_of(values)]
    if problems:
        raise UserError(*problems)
    options = values.pop("options", {})
    chosen = choose(name, options, given)
    for option, value in chosen.items():
        overlay = choices_of(options[option]).get(value)
        if isinstance(overlay, dict):
            values |= overlay
    example = values.pop("example", ())
    texts = texts_of(options, chosen)
    row = filled(values.pop("row", {}), {key: doubled(text) for key, text in texts.items()})
    for field, text in row.items():
        check_slots(text, f"{path}:{line_of(('row', field), lines)}: row: '{field}'")
    values = filled(values, texts)
    splits = values.pop("splits", {}) | {s: values.pop(s) for s in SPLITS if s in values}
    return {
        **values, "row": row, "format": format_of(values.get("format"), path, lines),
        "splits": splits, "options": options, "chosen": chosen, "example": tuple(example),
    }  # fmt: skip


def line_of(place: tuple, lines: dict[tuple, int]) -> int:
    """The line of the nearest key at or above a place."""
    place = tuple(map(str, place))
    return next((lines[place[:n]] for n in range(len(place), 0, -1) if place[:n] in lines), 1)


def check_slots(text: str, where: str) -> None:
    """UserError when an option's value has broken a {column}."""
    try:
        parts_of(text)
    except ValueError as error:
        raise UserError(f"{where}: with the options given, {error}.") from error


def doubled(text: str) -> str:
    """The text with its braces as a row's text spells them, so that they fill in nothing."""
    return text.replace("{", "{{").replace("}", "}}")


def filled(value, texts: dict[str, str]):
    """The value with {option}s replaced in all its texts, once."""
    if isinstance(value, dict):
        return {key: filled(below, texts) for key, below in value.items()}
    if not isinstance(value, str) or not texts:
        return value
    pattern = "|".join(map(re.escape, texts))
    return re.sub(rf"(?<!\{{)\{{({pattern})\}}", lambda found: texts[found[1]], value)


def format_of(value, path: Path, lines: dict) -> tuple[str, dict] | None:
    """(name, arguments) of a recipe's 'format', whole numbers as such."""
    if value is None:
        return None
    name, arguments = (value, {}) if isinstance(value, str) else next(iter(value.items()))
    kinds, arguments = arguments_of(name), dict(arguments or {})
    for key, text in arguments.items():
        if kinds[key].annotation is int:
            if not re.fullmatch("[0-9]{1,9}", str(text)):
                line = line_of(("format", name, key), lines)
                raise UserError(f"{path}:{line}: format: '{key}' is {text}, not a whole number.")
            arguments[key] = int(text)
    return name, arguments
