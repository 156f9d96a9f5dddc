"""What a hook may answer; the problem with an answer of another kind, in words."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from time import perf_counter

from threetoe.errors import Failure, PluginError, UserError
from threetoe.hooks.plugin import place_of, raised
from threetoe.messages import Format, Unusable, is_message

END = object()
PASSED_OVER = object()  # the answer of a call that raised, where --plugin-errors says to go on


def problem_of(hook: str, answer, value=None) -> str | None:
    """What is wrong with a plugin's answer, and what is expected; None when it is right.

    `value` is what a map_ hook was given: its answer is of the same kind.
    """
    if hook.startswith("register_"):
        return problem_of_names(hook, answer)
    if hook.startswith("map_"):
        return problem_of_mapped(hook, answer, value)
    checked = OTHERS.get(hook)
    return checked(answer) if checked else None


def problem_of_names(hook: str, answer) -> str | None:
    if not isinstance(answer, dict):
        return f"returned {kind(answer)}, not a dict"
    is_right, expected = REGISTERED.get(hook, (callable, "a function"))
    for name, value in answer.items():
        if not isinstance(name, str):
            return f"returned the name {name!r}, which is {kind(name)}, not a text"
        if not is_right(value):
            return f"returned {kind(value)} as '{name}'; return {expected}"
    return None


def problem_of_mapped(hook: str, answer, value) -> str | None:
    name = {"map_messages": "messages", "map_request": "messages", "map_training_args": "arguments"}
    name = name.get(hook, hook.removeprefix("map_"))
    plain = isinstance(value, (str, list, dict))  # a model may come back wrapped
    if answer is None or (plain and not isinstance(answer, type(value))):
        return f"returned {kind(answer)}; return the {name}{f', a {kind(value)}' * plain}"
    if name == "messages" and not all(map(is_message, answer)):
        return "returned a list with other things than messages: {role, content} with texts"
    if hook == "map_model" and is_module(value) and not is_module(answer):
        return f"returned {kind(answer)}; return the model"
    return None


def problem_of_rows(answer) -> str | None:
    """What is wrong with a list of rows; those of a stream are looked at as they come."""
    if isinstance(answer, (str, bytes, dict)) or not isinstance(answer, Iterable):
        return f"returned {kind(answer)}; return (where, row) pairs, a text and a dict each"
    rows = answer if isinstance(answer, (list, tuple)) else ()
    return next(filter(None, map(problem_of_row, rows)), None)


def problem_of_row(row) -> str | None:
    pair = isinstance(row, (tuple, list)) and len(row) == 2
    if pair and isinstance(row[0], str) and isinstance(row[1], (dict, Unusable)):
        return None
    return f"gave {kind(row)}, not (where, row): a text such as 'my.csv:3', and a dict"


def problem_of_trainer(answer) -> str | None:
    if not callable(getattr(answer, "train", None)):
        return f"returned {kind(answer)}; return an object that has train()"
    return None


def problem_of_model(answer) -> str | None:
    return None if is_module(answer) else f"returned {kind(answer)}; return a torch.nn.Module"


def is_module(value) -> bool:
    from torch.nn import Module

    return isinstance(value, Module)


def is_callback(value) -> bool:
    from transformers import TrainerCallback

    return isinstance(value, TrainerCallback)


def kind(value) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__


def is_path(value) -> bool:
    return isinstance(value, (str, Path))


OTHERS = {
    "load_rows": problem_of_rows,
    "load_model": problem_of_model,
    "build_trainer": problem_of_trainer,
}
REGISTERED = {
    "register_templates": (is_path, "the path of a YAML file"),
    "register_datasets": (is_path, "the path of a YAML file"),
    "register_formats": (lambda value: isinstance(value, Format), "a threetoe.messages.Format"),
    "register_callbacks": (is_callback, "an instance of a transformers.TrainerCallback"),
}


def opened(hooks, call, answer):
    """The rows of an answer as a stream, its first row taken, so that --plugin-errors can still
    pass over an answer that fails at once; None then."""
    begun = hooks.guarded_call(call.plugin, "load_rows", begin, answer)
    if begun is PASSED_OVER:
        return None
    first, rows = begun
    if first is not END and not hooks.is_right(call, "load_rows", [first]):
        return None
    return followed(call, first, rows)


def begin(answer) -> tuple:
    """(the first row or END, the stream of the others)."""
    rows = iter(answer)
    return next(rows, END), rows


def followed(call, row, rows: Iterator) -> Iterator:
    """The rows from this one on. PluginError stops it: rows that were given cannot be taken back,
    whatever --plugin-errors says."""
    plugin = call.plugin
    while row is not END:
        problem = problem_of_row(row)
        if problem:
            place = place_of(call.function)
            raise PluginError(f"{plugin}: load_rows {problem}. ({place})")
        yield row
        began = perf_counter()
        try:
            row = next(rows, END)
        except (UserError, Failure):
            raise
        except (Exception, SystemExit) as error:
            raise PluginError(raised(plugin, "load_rows", call.function, error)) from error
        finally:
            plugin.seconds += perf_counter() - began
