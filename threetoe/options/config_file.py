"""--config: a YAML file, or a run's run.json, whose values click checks as it checks flags.

A run.json may be anyone's, so no code that it names is run: functions of rows are refused, and its
plugins are handed on as `record`, of which hooks/of_run.py takes those that this machine knows.
"""

import json
import re
from pathlib import Path

import click
from click.core import ParameterSource

from threetoe.errors import UserError
from threetoe.machine.files import read_yaml
from threetoe.options.foreign import explain
from threetoe.options.types import Labels, Pair, Words, find_fault_in_text

RECORD = "run.json"
NOT_REPEATED = (  # of a run.json: a new run has its own
    "output_dir", "preview", "dry_run", "resume", "resume_anyway", "overwrite", "finish_by",
    "then", "rehearse", "push_to", "mirror", "save_config",
)  # fmt: skip
OF_RECORD = ("plugin", "settings")  # stand in its `plugins`, with hashes
CODE = re.compile(r"\.py(:|$)")


def read_config(context, param, path):
    """Make a YAML file's values the defaults of this call, so that click checks them as flags."""
    if path is None:
        return
    try:
        values = read_options(context, Path(path))
    except UserError as error:
        raise click.BadParameter(str(error), context, param) from error
    known = {p.name: p for p in context.command.params if p.name != "config"}
    context.default_map, context.meta["config"] = {}, path
    for key, value in values.items():
        name = {"plugins": "plugin"}.get(key, str(key).replace("-", "_"))
        if name not in known:
            dashed = [one.replace("_", "-") for one in known]
            hint = explain(str(key), dashed, spell_key)
            context.meta["problems"].append(f"{path}: no option named '{key}'.{hint}")
        elif name in context.default_map:
            context.meta["problems"].append(f"{path}: '{key}' is given twice; keep one.")
        elif value is not None:
            try:
                context.default_map[name] = write_as_flag(known[name], value)
            except UserError as error:
                context.meta["problems"].append(f"{path}: '{key}': {error}.")


def read_options(context, path: Path) -> dict:
    """{option: value} of a file; of a run.json what may be repeated. UserError for other files."""
    values = read_yaml(path)[0] or {}
    if isinstance(values, dict) and (path.name == RECORD or {"options", "threetoe"} <= {*values}):
        options, plugins = values.get("options"), values.get("plugins", [])
        if not (isinstance(options, dict) and isinstance(plugins, list)):
            raise UserError(f"{path} is no run's record, or damaged.")
        context.meta["record"] = (path, plugins)
        left = (*NOT_REPEATED, *OF_RECORD)
        return {name: value for name, value in options.items() if name not in left}
    if not isinstance(values, dict):
        raise UserError(f"{path} holds no 'option: value' lines.")
    return values


def write_config(options: dict, path: Path) -> None:
    """A file for --config that gives the same run; UserError where one is there already."""
    import yaml

    kept = {n: v for n, v in options.items() if n not in NOT_REPEATED and v not in (None, ())}
    text = f"# python train.py --config {path}\n" + yaml.safe_dump(
        json.loads(json.dumps(kept)), sort_keys=False, allow_unicode=True
    )
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UserError(f"--save-config {path} exists already; name a new file.") from None


def refuse_code(context) -> None:
    """A problem for each value of a run.json that is a file of code, unless a flag wins over it."""
    for name, value in (context.default_map or {}).items() if "record" in context.meta else ():
        from_file = context.get_parameter_source(name) is ParameterSource.DEFAULT_MAP
        for word in value if isinstance(value, list) else [value]:
            if from_file and CODE.search(word):
                context.params.pop(name, None)
                context.meta["problems"].append(
                    f"{context.meta['config']} names code, {word}, which is not run unless you "
                    f"say so: --{name.replace('_', '-')} {word}."
                )


def spell_key(name: str) -> str:
    """'batching-strategy packing' as it is written in YAML."""
    key, _, value = name.partition(" ")
    return key.replace("-", "_") + f": {value}" * bool(value)


def write_as_flag(param, value):
    """A YAML value as it would be typed behind its flag, so that click checks both alike."""
    if isinstance(param.type, Labels) and isinstance(value, (dict, list)):
        return json.dumps(dict(as_pairs(value)))  # {1: Positive}, or the pairs of a run.json
    is_pair = isinstance(param.type, Pair)
    if isinstance(value, dict) and is_pair:
        value = as_pairs(value)  # map: {instruction: question}
    if isinstance(value, list) and not (param.multiple or isinstance(param.type, Words)):
        raise UserError("one value is expected, not a list")
    values = value if isinstance(value, list) else [value]
    if is_pair:
        values = ["=".join(map(as_word, v)) if isinstance(v, (list, tuple)) else v for v in values]
    words = [as_word(each) for each in values]
    return words if param.multiple else ",".join(words)


def as_pairs(value: dict | list) -> list[tuple[str, str]]:
    pairs = list(value.items()) if isinstance(value, dict) else value
    if not all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in pairs):
        raise UserError("pairs are expected, as in {0: Negative, 1: Positive}")
    return [(as_word(name), as_word(text)) for name, text in pairs]


def as_word(value) -> str:
    if value is None or isinstance(value, (list, dict)):
        raise UserError(f"a text or a number is expected, not {type(value).__name__}")
    word = str(value).lower() if isinstance(value, bool) else str(value)
    if fault := find_fault_in_text(word):
        raise UserError(fault)
    return word
