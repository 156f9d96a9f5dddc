"""python -m threetoe plugins explain: which plugins a command calls, in which order.

The checks of the command itself are run, so its mistakes are found as the script finds them; they
read the data and load no weights. The order of calls stands in three functions here, which
tests/test_plugins_command.py holds to what the scripts really call.
"""

from pathlib import Path
from typing import NamedTuple

import click

from threetoe.errors import UserError, did_you_mean
from threetoe.export import export
from threetoe.export.formats import FORMATS
from threetoe.hooks.calls import Hooks
from threetoe.hooks.plugin import HOOKS
from threetoe.hooks.specs import PREFIXES
from threetoe.infer import infer
from threetoe.options.command import command
from threetoe.options.export import ExportConfig
from threetoe.options.infer import InferConfig
from threetoe.options.train import TrainConfig
from threetoe.train.plan import TrainPlan, plan_training

RULES = {  # by a hook's prefix: what becomes of the answers, and what stands between plugins
    "register_": ("answers merge", " + "),
    "load_": ("first answer wins", ", else "),
    "build_": ("first answer wins", ", else "),
    "map_": ("passed through", " -> "),
    "after_": ("told", ", "),
}
DATA = (
    ("register_datasets", "once"),
    ("load_rows", "once"),
    ("register_formats", "once"),
)  # the order of data.read_conversations


def calls_of_train(job: TrainPlan):
    """(hook, how often) in the order in which train.py calls them."""
    yield "register_templates", "once"
    yield from DATA
    yield "map_messages", "every row"
    if job.config.preview or job.config.dry_run:
        return
    yield "load_model", "once"
    yield "map_model", "once"
    yield "map_training_args", "once"
    yield "register_callbacks", "once"
    yield "build_trainer", "once"
    yield "after_train", "run saved"


def calls_of_infer(job: infer.InferPlan):
    if job.template:
        yield "register_templates", "once"
    if job.config.file:
        yield from DATA
    if job.metrics:
        yield "register_metrics", "once"
    yield "map_request", "every question"
    yield "load_model", "once"
    yield "map_reply", "every answer"


def calls_of_export(job: export.ExportJob):
    if job.template:
        yield "register_templates", "once"
    yield "register_exporters", "once"
    for name in job.outputs or ["adapter"]:  # --push alone writes an adapter to push
        yield "register_exporters", name
        ours = name in FORMATS
        yield "map_card", name if ours else f"{name}, if it writes README.md"
        yield "after_export", name


class Script(NamedTuple):
    options: type  # its configuration
    plan: object  # checks a configuration, and says what will be done
    calls: object  # (hook, how often) of what was planned, in order


SCRIPTS = {
    "train": Script(TrainConfig, plan_training, calls_of_train),
    "infer": Script(InferConfig, infer.plan_inference, calls_of_infer),
    "export": Script(ExportConfig, export.plan_export, calls_of_export),
}


def explain(words: tuple) -> None:
    """Print the calls of a command that is given as words; its problems, as the script's own."""
    name, args = script_of(words)
    script = SCRIPTS[name]

    def show(config):
        """Options of the command that is explained; see its own --help."""
        job = script.plan(config)
        calls = list(script.calls(job))
        title = f"{name}.py calls, in this order:"
        click.echo("\n".join([title, *lines_of(calls, job.hooks), *rest(name, calls, job.hooks)]))

    command(script.options)(show).main(list(args), prog_name=f"{name}.py")


def script_of(words: tuple) -> tuple[str, tuple]:
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


def lines_of(calls: list, hooks: Hooks) -> list[str]:
    """A numbered line for each call: hook, how often, the rule, who answers in which order."""
    rows = []
    for number, (hook, times) in enumerate(calls, 1):
        rule, between = RULES[prefix_of(hook)]
        names = between.join(names_of(hooks, hook)) or "nobody"
        rows.append((f"{number:2}", hook, times, rule, names))
    return aligned(rows)


def rest(script: str, calls: list, hooks: Hooks) -> list[str]:
    """The hooks that plugins have and the command does not call."""
    called = {hook for hook, _ in calls}
    left = [hook for hook in HOOKS if hook not in called]
    rows = [("  ", hook, ", ".join(names_of(hooks, hook)) or "nobody") for hook in left]
    return ["", "not called:", *aligned(rows)] if rows else []


def prefix_of(hook: str) -> str:
    return next(prefix for prefix in PREFIXES if hook.startswith(prefix))


def names_of(hooks: Hooks, hook: str) -> list[str]:
    """The plugins that have a hook, in the order in which they are called."""
    return [call.plugin.given for call in hooks.calls_of(hook)]


def aligned(rows: list[tuple]) -> list[str]:
    """Rows of texts as lines, with columns below each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)) for row in rows)
    return [line.rstrip() for line in lines]
