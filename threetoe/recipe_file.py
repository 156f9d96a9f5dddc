"""Recipe files: read from YAML, their options filled in, and what is wrong, line by line."""

import re
from collections.abc import Iterable
from pathlib import Path

from threetoe.catalog import lines_of, read_yaml
from threetoe.errors import UserError, did_you_mean
from threetoe.recipe_check import SPLITS, problems_of
from threetoe.recipe_formats import arguments_of


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
    values = filled(values, texts)
    splits = values.pop("splits", {}) | {s: values.pop(s) for s in SPLITS if s in values}
    return {
        **values, "row": row, "format": format_of(values.get("format")),
        "splits": splits, "options": options, "chosen": chosen, "example": tuple(example),
    }  # fmt: skip


def line_of(place: tuple, lines: dict[tuple, int]) -> int:
    """The line of the nearest key at or above a place."""
    place = tuple(map(str, place))
    return next((lines[place[:n]] for n in range(len(place), 0, -1) if place[:n] in lines), 1)


def choices_of(option: dict) -> dict:
    """{choice: its name, what it lays over the recipe, or None}; {} where anything goes."""
    choices = option.get("choices") or {}
    return choices if isinstance(choices, dict) else dict.fromkeys(choices)


def choose(name: str, options: dict, given: Iterable[tuple[str, str]]) -> dict[str, str]:
    """{option: value}, with defaults; UserError for what is no option or no choice."""
    chosen, problems = {option: str(o["default"]) for option, o in options.items()}, []
    for option, value in given:
        asked = f"--dataset-option {option}={value}"
        if option not in options:
            theirs = f" Its options: {', '.join(options)}." if options else " It has none."
            hint = did_you_mean(option, options)
            problems.append(f"{asked}: '{name}' has no such option.{hint}{theirs}")
            continue
        choices = choices_of(options[option])
        if choices and value not in choices:
            hint = did_you_mean(value, choices)
            problems.append(
                f"{asked}: '{value}' is no choice.{hint} Choices: {', '.join(choices)}."
            )
        elif isinstance(options[option]["default"], int) and not re.fullmatch("[0-9]{1,9}", value):
            problems.append(f"{asked}: '{value}' is not a whole number.")
        chosen[option] = value
    for option, other in ((o, options[o].get("unlike")) for o in options):
        if other and chosen[option] == chosen[other] and not problems:
            problems.append(
                f"{option}={chosen[option]} and {other}={chosen[other]} are the same; give one of "
                f"them another value: --dataset-option {option}=... or {other}=..."
            )
    if problems:
        raise UserError(*problems)
    return chosen


def texts_of(options: dict, chosen: dict[str, str]) -> dict[str, str]:
    """What stands for {option} and {option.name}."""
    names = {
        f"{option}.name": name
        for option, value in chosen.items()
        if isinstance(name := choices_of(options[option]).get(value), str)
    }
    return chosen | names


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


def format_of(value) -> tuple[str, dict] | None:
    """(name, arguments) of a recipe's 'format', whole numbers as such."""
    if value is None:
        return None
    name, arguments = (value, {}) if isinstance(value, str) else next(iter(value.items()))
    kinds = arguments_of(name)
    return name, {
        key: int(text) if kinds[key].annotation is int else text
        for key, text in (arguments or {}).items()
    }
