"""Reads rows from a function in a .py file, `my.py:get_foo`, as llama-recipes calls it."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from threetoe.errors import PluginError, UserError, did_you_mean, no_such_file
from threetoe.hooks.answers import kind
from threetoe.hooks.module import import_file, load_or_explain
from threetoe.hooks.plugin import PASSED, describe, place_in, place_of
from threetoe.messages import Unusable

DEFAULT = "get_custom_dataset"
ALIKE = {"dataset_config": "config"}  # as llama-recipes names it
INSTEAD = {
    "DatasetDict": "return one split of it, dataset[split]",
    "IterableDatasetDict": "return one split of it, dataset[split]",
    "DataFrame": "return its rows, frame.to_dict('records')",
    "dict": "return a list of rows, a dict each",
}


def function_rows(path: Path, name: str | None, given: dict[str, Callable]) -> Iterator:
    """What a function returns, row by row: rows, lists of messages, or ready ids.

    `given` has what makes each argument, of which only those are made that the function takes.
    UserError for a missing file or name; PluginError, with file and line, for what the function
    raises or returns wrongly.
    """
    if not path.is_file():
        raise no_such_file(path)
    module = load_or_explain(str(path), lambda: import_file(path), "The dataset's file")
    source = f"{path}:{name or DEFAULT}"
    function = find_function(module, name or DEFAULT, path)
    named = arguments_of(function, source, given)
    answer = guarded(lambda: function(**named), function, source)
    items = guarded(lambda: items_of(answer), function, source)
    if items is None:
        instead = INSTEAD.get(type(answer).__name__, "return a list of rows, a Dataset or a stream")
        raise PluginError(f"{source} returned {kind(answer)}; {instead}. ({place_of(function)})")
    return rows_of(items, function, source)


def find_function(module, name: str, path: Path) -> Callable:
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


def arguments_of(function: Callable, source: str, given: dict) -> dict:
    """{name: value} of what a function takes; UserError where it needs what nobody has."""
    parameters = inspect.signature(function).parameters.values()
    single = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    named = {p.name: ALIKE.get(p.name, p.name) for p in single}
    strange = [p.name for p in single if p.default is p.empty and named[p.name] not in given]
    if strange:
        raise UserError(
            f"{source} takes '{strange[0]}'; a function of rows takes config, tokenizer, split, or "
            f"any of them, by these names. ({place_of(function)})"
        )
    return {name: given[known]() for name, known in named.items() if known in given}


def guarded(call: Callable, function: Callable, source: str):
    """What a call of the user's code returns; PluginError with file and line when it raises."""
    try:
        return call()
    except PASSED:
        raise
    except BaseException as error:
        place = place_in(Path(source.rpartition(":")[0]).resolve(), function, error)
        raise PluginError(f"{source} raised ({place}): {describe(error)}") from error


def items_of(answer) -> Iterator | None:
    """The items of a list, an iterator, a Dataset, or what has only a length and items."""
    if isinstance(answer, (str, bytes, Mapping)) or type(answer).__name__ in INSTEAD:
        return None
    has = {name for name in ("__iter__", "__len__", "__getitem__") if hasattr(type(answer), name)}
    if has == {"__len__", "__getitem__"}:  # as torch's datasets
        return (answer[number] for number in range(len(answer)))
    return iter(answer) if has & {"__iter__", "__getitem__"} else None


def rows_of(items: Iterator, function: Callable, source: str) -> Iterator:
    end, number = object(), 0
    while (item := guarded(lambda: next(items, end), function, source)) is not end:
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
