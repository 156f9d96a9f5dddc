"""What a hook may answer; what is wrong with an answer of another kind, in words."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from threetoe.messages import Format, Unusable, is_message

END = object()


def find_fault(hook: str, answer, value=None) -> str | None:
    """What is wrong with a plugin's answer, and what is expected; None when it is right.

    `value` is what a map_ hook was given: its answer is of the same kind.
    """
    if hook.startswith("register_"):
        return find_fault_in_names(hook, answer)
    if hook in EXPECTED:
        is_right, expected = EXPECTED[hook]
        return None if is_right(answer) else f"returned {kind(answer)}; return {expected}"
    if hook.startswith("map_"):
        return find_fault_in_mapped(hook, answer, value)
    return None


def find_fault_in_names(hook: str, answer) -> str | None:
    if not isinstance(answer, dict):
        return f"returned {kind(answer)}, not a dict"
    is_right, expected = EXPECTED.get(hook, (callable, "a function"))
    for name, value in answer.items():
        if not isinstance(name, str):
            return f"returned the name {name!r}, which is {kind(name)}, not a text"
        if not is_right(value):
            return f"returned {kind(value)} as '{name}'; return {expected}"
    return None


def find_fault_in_mapped(hook: str, answer, value) -> str | None:
    named = {"map_request": "messages", "map_training_args": "arguments"}
    name = named.get(hook, hook.removeprefix("map_"))
    if not isinstance(answer, type(value)):
        return f"returned {kind(answer)}; return the {name}, a {kind(value)}"
    if name == "messages" and not all(map(is_message, answer)):
        return "returned a list with other things than messages: {role, content} with texts"
    return None


def find_fault_in_row(row) -> str | None:
    pair = isinstance(row, (tuple, list)) and len(row) == 2
    if pair and isinstance(row[0], str) and isinstance(row[1], (dict, Unusable)):
        return None
    return f"gave {kind(row)}, not (where, row): a text such as 'my.csv:3', and a dict"


def follow(call, rows: Iterable) -> Iterator:
    """A plugin's rows as they come; PluginError where one is wrong, or the next one raises."""
    plugin = call.plugin
    rows = plugin.call("load_rows", iter, rows)
    while (row := plugin.call("load_rows", next, rows, END)) is not END:
        if fault := find_fault_in_row(row):
            raise plugin.refuse("load_rows", fault, call.function)
        yield row


def is_stream(value) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, (str, bytes, dict))


def is_path(value) -> bool:
    return isinstance(value, (str, Path))


def is_module(value) -> bool:
    from torch.nn import Module

    return isinstance(value, Module)


def is_callback(value) -> bool:
    from transformers import TrainerCallback

    return isinstance(value, TrainerCallback)


def is_trainer(value) -> bool:
    return callable(getattr(value, "train", None))


def kind(value) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__


EXPECTED = {  # of what a register_ hook names, where it is no function, or of the answer itself
    "register_templates": (is_path, "the path of a YAML file"),
    "register_datasets": (is_path, "the path of a YAML file"),
    "register_formats": (lambda value: isinstance(value, Format), "a threetoe.api.Format"),
    "register_callbacks": (is_callback, "an instance of a transformers.TrainerCallback"),
    "load_rows": (is_stream, "(where, row) pairs, a text and a dict each"),
    "load_model": (is_module, "a torch.nn.Module"),
    "map_model": (is_module, "the model"),
    "build_trainer": (is_trainer, "an object that has train()"),
}
