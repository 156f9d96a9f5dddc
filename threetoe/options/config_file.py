"""--config: a YAML file, or a run's run.json, whose values click checks as it checks flags."""

import json
from pathlib import Path

import click

from threetoe.errors import UserError, did_you_mean
from threetoe.machine.files import read_yaml
from threetoe.options.types import Labels, Pair, Words

NOT_REPEATED = ("output_dir", "preview", "dry_run")  # of a run.json: a new run has its own


def read_config(context, param, path):
    """Make a YAML file's values the defaults of this call, so that click checks them as flags."""
    if path is None:
        return
    try:
        values = read_yaml(Path(path)) or {}
    except UserError as error:
        raise click.BadParameter(str(error), context, param) from error
    if isinstance(values, dict) and "options" in values and "threetoe" in values:
        values = {k: v for k, v in values["options"].items() if k not in NOT_REPEATED}
    if not isinstance(values, dict):
        raise click.BadParameter(f"{path} holds no 'option: value' lines.", context, param)
    known = {p.name: p for p in context.command.params if p.name != "config"}
    context.default_map, context.meta["config"] = {}, path
    for key, value in values.items():
        name = {"plugins": "plugin"}.get(key, str(key).replace("-", "_"))
        if name not in known:
            context.meta["problems"].append(
                f"{path}: no option named '{key}'.{did_you_mean(name, known)}"
            )
        elif value is not None:
            try:
                context.default_map[name] = as_typed(known[name], value)
            except UserError as error:
                context.meta["problems"].append(f"{path}: '{key}': {error}.")


def as_typed(param, value):
    """A YAML value as it would be typed behind its flag, so that click checks both alike."""
    if isinstance(param.type, Labels) and isinstance(value, (dict, list)):
        return json.dumps(dict(value))  # {1: Positive}, or the pairs of a run.json
    is_pair = isinstance(param.type, Pair)
    if isinstance(value, dict) and is_pair:
        value = list(value.items())  # map: {instruction: question}
    if isinstance(value, list) and not (param.multiple or isinstance(param.type, Words)):
        raise UserError("one value is expected, not a list")
    values = value if isinstance(value, list) else [value]
    if is_pair:
        values = ["=".join(map(as_word, v)) if isinstance(v, (list, tuple)) else v for v in values]
    words = [as_word(each) for each in values]
    return words if param.multiple else ",".join(words)


def as_word(value) -> str:
    if value is None or isinstance(value, (list, dict)):
        raise UserError(f"a text or a number is expected, not {type(value).__name__}")
    return str(value).lower() if isinstance(value, bool) else str(value)
