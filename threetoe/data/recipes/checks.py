"""What can be wrong with a recipe: (place, problem), the place as the keys that lead to it."""

import re
from collections.abc import Iterator

from threetoe.data.recipes.columns import parts_of
from threetoe.data.recipes.options import Problems, kind_of, option_problems
from threetoe.data.recipes.shapes import NAMED, arguments_of
from threetoe.errors import did_you_mean

SPLITS = ("train", "validation", "test")  # the short form, a file beside the recipe each
TEXTS = ("description", "license", "source", "bring", "subset", "each", *SPLITS)
FIELDS = ("system", "instruction", "input", "output")


def problems_of(values: dict, options: dict | None = None) -> Problems:
    """What is wrong with a recipe; with `options`, with what one choice lays over it."""
    known = [key for key in KEYS if options is None or key != "options"]
    names = values.get("options") if options is None else options
    names = names if isinstance(names, dict) else {}
    for key, value in values.items():
        if key not in known:
            hint = did_you_mean(key, known)
            yield (key,), f"unknown key '{key}'.{hint} Known: {', '.join(known)}."
            continue
        for place, problem in CHECKS.get(key, text_problems)(value, key):
            yield (key, *place), problem
        if key in ("source", "subset", "splits"):
            yield from strange_options(value, (key,), names)
        if key == "format" and isinstance(value, dict):
            for name, arguments in value.items():
                yield from strange_options(arguments, (key, name), names)
    if options is None:
        yield from problems_between(values, names)
        for place, over in overlays(names):
            for below, problem in problems_of(over, names):
                yield (*place, *below), problem


def problems_between(values: dict, options: dict) -> Problems:
    if not {"source", "splits", "bring", *SPLITS} & values.keys():
        yield (), "nothing says where rows come from, such as 'train: rows.jsonl' or 'source: a/b'."
    for over in [over for _, over in overlays(options)] or [{}]:
        if {"row", "format"} <= {**values, **over}.keys():
            yield ("format",), "'row' and 'format' exclude each other; keep one."
            return


def overlays(options: dict) -> Iterator[tuple[tuple, dict]]:
    """(place, what it lays over the recipe) of each choice that is more than a name."""
    for name, option in options.items():
        found = option.get("choices") if isinstance(option, dict) else None
        for choice, over in found.items() if isinstance(found, dict) else ():
            if isinstance(over, dict):
                yield ("options", name, "choices", choice), over


def strange_options(value, place: tuple, options: dict) -> Problems:
    """Names in braces where only options can stand."""
    texts = value.items() if isinstance(value, dict) else [(None, value)]
    for key, text in texts:
        for name in re.findall(r"\{(.*?)\}", text) if isinstance(text, str) else ():
            if name not in options:
                hint = did_you_mean(name, options)
                yield (*place, key), f"'{place[0]}' has {{{name}}}, which is no option.{hint}"


def text_problems(value, key: str) -> Problems:
    if not isinstance(value, str):
        yield (), f"'{key}' is {kind_of(value)}, not text; put it in quotes."
    elif not value.strip():
        yield (), f"'{key}' is empty; leave the line out."


def texts_problems(value, key: str) -> Problems:
    """A mapping of texts to texts."""
    if not isinstance(value, dict) or not value:
        yield (), f"'{key}' is {kind_of(value)}, not a mapping such as {SUCH[key]}."
        return
    for name, text in value.items():
        if not isinstance(name, str) or not isinstance(text, str):
            yield (name,), f"{key}: '{name}: {text}' is not a text for a text; put both in quotes."


def label_problems(value, key: str) -> Problems:
    if not isinstance(value, dict) or not value:
        yield (), f"'{key}' is {kind_of(value)}, not a mapping such as {SUCH[key]}."
        return
    for column, codes in value.items():
        if not isinstance(codes, dict) or not codes:
            yield (column,), f"labels: '{column}' is {kind_of(codes)}, not a text for each code."
            continue
        for code, text in codes.items():
            if not isinstance(text, str):
                wrong = f"labels: the text for {code} is {kind_of(text)}, not text"
                yield (column, code), f"{wrong}; put it in quotes."


def skip_problems(value, key: str) -> Problems:
    yield from texts_problems(value, key)
    for column, pattern in value.items() if isinstance(value, dict) else ():
        try:
            re.compile(pattern if isinstance(pattern, str) else "")
        except re.error as error:
            yield (column,), f"skip: '{pattern}' is not a regular expression: {error}."


def row_problems(value, key: str) -> Problems:
    yield from texts_problems(value, key)
    if not isinstance(value, dict):
        return
    for field, text in value.items():
        if field not in FIELDS:
            hint = did_you_mean(field, FIELDS)
            yield (field,), f"row: unknown field '{field}'.{hint} Known: {', '.join(FIELDS)}."
        elif isinstance(text, str):
            try:  # a place in a column may hold an option: {translation.{source}}
                parts_of(re.sub(r"\{([^{}]*)\{[\w.]+\}([^{}]*)\}", r"{\1x\2}", text))
            except ValueError as error:
                yield (field,), f"row: '{field}': {error}."
    for field in ("instruction", "output"):
        if field not in value:
            yield (), f"row: '{field}' is missing."


def format_problems(value, key: str) -> Problems:
    name, arguments = value, {}
    if isinstance(value, dict) and len(value) == 1:
        name, arguments = next(iter(value.items()))
    if not isinstance(name, str):
        yield (), f"'format' is {kind_of(value)}, not one of {', '.join(NAMED)}."
        return
    if name not in NAMED:
        yield (), f"no format named '{name}'.{did_you_mean(name, NAMED)} Known: {', '.join(NAMED)}."
        return
    known, arguments = arguments_of(name), {} if arguments is None else arguments
    if not isinstance(arguments, dict):
        yield (name,), f"format: {name} is {kind_of(arguments)}; it has lines such as 'text: text'."
        return
    for argument, text in arguments.items():
        if argument not in known:
            hint = f"{did_you_mean(argument, known)} Known: {', '.join(known)}."
            yield (name, argument), f"format: {name} has no '{argument}'.{hint}"
        elif not right_kind(text, known[argument].annotation):
            yield (name, argument), f"format: '{argument}' is {kind_of(text)}, which it cannot be."
    for argument, parameter in known.items():
        if parameter.default is parameter.empty and argument not in arguments:
            yield (name,), f"format: '{argument}' of {name} is missing."


def right_kind(value, kind: type) -> bool:
    if kind is int and isinstance(value, int) and not isinstance(value, bool):
        return value >= 0
    return isinstance(value, str) and (kind is str or bool(re.fullmatch(r"\{\w+\}", value)))


def example_problems(value, key: str) -> Problems:
    if not isinstance(value, list) or not value or not all(isinstance(r, dict) for r in value):
        yield (), "'example' is not a list of rows, each with the source's columns."


SUCH = {
    "splits": "{train: train, test: validation}",
    "labels": "{label: {0: Negative, 1: Positive}}",
    "skip": "{text: '^RT '}",
    "row": "{instruction: '{question}', output: '{answer}'}",
}
CHECKS = {
    "splits": texts_problems,
    "options": option_problems,
    "labels": label_problems,
    "skip": skip_problems,
    "row": row_problems,
    "format": format_problems,
    "example": example_problems,
}
KEYS = (*TEXTS, *CHECKS)
