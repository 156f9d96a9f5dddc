"""python -m threetoe plugins explain: which plugins a command calls, in which order.

The checks of the command itself are run, so its mistakes are found as the script finds them; they
read the data and load no weights. The order of the hooks is that of hooks/specs.py.
"""

from pathlib import Path

import click

from threetoe.errors import UserError, did_you_mean
from threetoe.export.export import plan_export
from threetoe.hooks import specs
from threetoe.hooks.calls import Hooks
from threetoe.hooks.plugin import HOOKS
from threetoe.infer.infer import plan_inference
from threetoe.options.command import command
from threetoe.options.export import ExportConfig
from threetoe.options.infer import InferConfig
from threetoe.options.train import TrainConfig
from threetoe.train.plan import plan_training

RULES = {  # by a hook's prefix: what becomes of the answers, and what stands between plugins
    "register_": ("answers merge", " + "),
    "load_": ("first answer wins", ", else "),
    "build_": ("first answer wins", ", else "),
    "map_": ("passed through", " -> "),
    "after_": ("told", ", "),
}
SCRIPTS = {  # the options of each, and what checks them
    "train": (TrainConfig, plan_training),
    "infer": (InferConfig, plan_inference),
    "export": (ExportConfig, plan_export),
}


def explain(words: tuple) -> None:
    """Print the calls of a command that is given as words; its problems, as the script's own."""
    name, args = split_command(words)
    options, check = SCRIPTS[name]

    def show(config):
        """Options of the command that is explained; see its own --help."""
        click.echo("\n".join(describe_calls(name, check(config).hooks)))

    command(options)(show).main(list(args), prog_name=f"{name}.py")


def split_command(words: tuple) -> tuple[str, tuple]:
    """(train, infer or export; its arguments) of a command such as python train.py --preview 3."""
    found = words[1:] if words and Path(words[0]).name.startswith("python") else words
    known = {f"{name}.py": name for name in SCRIPTS} | {f"threetoe-{n}": n for n in SCRIPTS}
    first = Path(found[0]).name if found else ""
    if first not in known:
        asked = f"'{found[0]}' is none of these.{did_you_mean(first, known)} " if found else ""
        raise UserError(
            f"{asked}Name a command of train.py, infer.py or export.py: python -m threetoe plugins "
            "explain train.py --dataset my.json --plugin mine.py"
        )
    return known[first], found[1:]


def describe_calls(script: str, hooks: Hooks) -> list[str]:
    """A line for each hook that a script calls where its options ask for it: the rule, and who
    answers in which order; then the hooks of plugins that it never calls."""
    called, left = [], []
    for hook in HOOKS:
        rule, between = RULES[next(prefix for prefix in RULES if hook.startswith(prefix))]
        names = between.join(call.plugin.given for call in hooks.calls_of(hook)) or "nobody"
        if script in getattr(specs, hook).scripts:
            called.append((f"{len(called) + 1:2}", hook, rule, names))
        elif hooks.by_plugins(hook):
            left.append(("  ", hook, rule, names))
    rows = align([*called, *left])
    title = f"{script}.py calls, where its options ask for it, in this order:"
    rest = ["", "not called:", *rows[len(called) :]] if left else []
    return [title, *rows[: len(called)], *rest]


def align(rows: list[tuple]) -> list[str]:
    """Rows of texts as lines, with columns below each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)) for row in rows)
    return [line.rstrip() for line in lines]
