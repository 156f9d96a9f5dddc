"""Reads rows from a function in a .py file, `my.py:get_foo`, as llama-recipes calls it."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from pathlib import Path

from threetoe.errors import PluginError, UserError, did_you_mean, no_such_file
from threetoe.hooks.answers import kind
from threetoe.hooks.module import import_file, load_or_explain
from threetoe.hooks.plugin import PASSED, describe, place_in, place_of
from threetoe.messages import Unusable

DEFAULT = "get_custom_dataset"
KNOWN = {"config": "config", "dataset_config": "config", "tokenizer": "tokenizer", "split": "split"}
ORDER = ("config", "tokenizer", "split")
INSTEAD = {
    "DatasetDict": "return one split of it, dataset[split]",
    "IterableDatasetDict": "return one split of it, dataset[split]",
    "DataFrame": "return its rows, frame.to_dict('records')",
    "dict": "return a list of rows, a dict each",
}


class FunctionConfig:
    """The configuration, with the split that is asked for and the function's file."""

    def __init__(self, config, split: str, file: Path):
        self.config, self.split, self.file = config, split, str(file)

    def __getattr__(self, name: str):
        return getattr(self.config, name)


def function_rows(
    path: Path, name: str | None, split: str, config, load_tokenizer: Callable
) -> Iterator:
    """What a function returns, row by row: rows, lists of messages, or ready ids.

    `load_tokenizer()` is called only if the function takes a tokenizer. UserError for a missing
    file or name; PluginError, with file and line, for what the function raises or returns wrongly.
    """
    if not path.is_file():
        raise no_such_file(path)
    module = load_or_explain(str(path), lambda: import_file(path), "The dataset's file")
    source = f"{path}:{name or DEFAULT}"
    function = found_function(module, name or DEFAULT, path)
    given = {
        "config": lambda: FunctionConfig(config, split, path),
        "tokenizer": load_tokenizer,
        "split": lambda: split,
    }
    args, named = arguments(function, source, given)
    answer = guarded(lambda: function(*args, **named), function, source)
    return numbered(iterated(answer, function, source), function, source)


def found_function(module, name: str, path: Path) -> Callable:
    function = getattr(module, name, None)
    if callable(function):
        return function
    there = [
        key
        for key, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__
    ]
    functions = f"Its functions: {', '.join(there)}" if there else "It has none"
    raise UserError(f"{path} has no function '{name}'.{did_you_mean(name, there)} {functions}.")


def arguments(function: Callable, source: str, given: dict) -> tuple[list, dict]:
    """(by position, by name) what a function is called with.

    By name where all that it needs has a known name, in any order; three others, whatever they
    are called, are config, tokenizer and split. Parameters with defaults and other names keep
    those. UserError for other functions.
    """
    parameters = inspect.signature(function).parameters.values()
    single = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    needed = [p for p in single if p.default is p.empty]
    if all(p.name in KNOWN for p in needed):
        known = [p for p in single if p.name in KNOWN]
        args = [given[KNOWN[p.name]]() for p in known if p.kind is p.POSITIONAL_ONLY]
        return args, {
            p.name: given[KNOWN[p.name]]() for p in known if p.kind is not p.POSITIONAL_ONLY
        }
    if len(needed) == len(ORDER) and all(p.kind is not p.KEYWORD_ONLY for p in needed):
        return [given[name]() for name in ORDER], {}
    strange = next(p.name for p in needed if p.name not in KNOWN)
    raise UserError(
        f"{source} takes '{strange}'; a function of rows takes config, tokenizer, split, or any "
        f"of them by these names. ({place_of(function)})"
    )


def guarded(call: Callable, function: Callable, source: str):
    """What a call of the user's code returns; PluginError with file and line when it raises."""
    try:
        return call()
    except PASSED:
        raise
    except BaseException as error:
        place = place_in(Path(source.rpartition(":")[0]).resolve(), function, error)
        raise PluginError(f"{source} raised ({place}): {describe(error)}") from error


def iterated(answer, function: Callable, source: str) -> Iterator:
    """The items of a list, an iterator, a Dataset, or what has only a length and items."""
    by_number = callable(getattr(type(answer), "__getitem__", None)) and not callable(
        getattr(type(answer), "__iter__", None)
    )
    wrong = isinstance(answer, (str, bytes, Mapping)) or type(answer).__name__ in INSTEAD
    if wrong or not (by_number or callable(getattr(type(answer), "__iter__", None))):
        instead = INSTEAD.get(type(answer).__name__, "return a list of rows, a Dataset or a stream")
        raise PluginError(f"{source} returned {kind(answer)}; {instead}. ({place_of(function)})")
    if not by_number:
        return guarded(lambda: iter(answer), function, source)
    if callable(getattr(type(answer), "__len__", None)):
        return (answer[number] for number in range(len(answer)))
    return map(answer.__getitem__, count())  # ends with IndexError, as Python's own loops do


def numbered(items: Iterator, function: Callable, source: str) -> Iterator:
    end, number = object(), 0
    while (item := guarded(lambda: next_of(items, end), function, source)) is not end:
        number += 1
        where = f"{source} row {number}"
        if isinstance(item, Mapping):
            yield where, dict(item)
        elif isinstance(item, list) and all(isinstance(message, Mapping) for message in item):
            yield where, {"messages": [dict(message) for message in item]}
        elif isinstance(item, Unusable):
            yield where, item
        else:
            raise PluginError(
                f"{where} is {kind(item)}; give a dict of columns, or a list of messages. "
                f"({place_of(function)})"
            )
    if not number:
        raise UserError(f"{source} is empty: it returned no rows. ({place_of(function)})")


def next_of(items: Iterator, end):
    try:
        return next(items, end)
    except IndexError:
        if isinstance(items, map):
            return end
        raise
