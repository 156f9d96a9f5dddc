"""What plugins, functions of rows and notebooks import: the one public home of the library.

    from threetoe.api import export, infer, train

    run = train(dataset="my.json", max_steps=60, output_dir="runs/my-run")
    infer("What is soup?", run=run.folder)     # ["food"]
    export(run=run.folder, merged="my-model")  # {"merged": Path("my-model")}

Arguments are the options of train.py, infer.py and export.py by name, checked as flags are;
`config` is a YAML file of others. UserError is a mistake that can be mended, Failure work that was
not finished; each has `problems`, a list of lines. What happens is said on standard error.

The other names are for plugins. Nothing heavy is imported before a function is called.
"""

from pathlib import Path
from typing import NamedTuple

from threetoe.data.formats import answer, text
from threetoe.errors import Failure, PluginError, UserError, reading
from threetoe.messages import Format, Skipped, Unusable

__all__ = [
    "Failure", "Format", "PluginError", "Skipped", "Trained", "Unusable", "UserError", "answer",
    "build_trainer", "export", "infer", "load_model", "reading", "text", "train", "write_merged",
]  # fmt: skip


class Trained(NamedTuple):
    """A run: its folder, and what its run.json says (`record.metrics`, `record.options` ...)."""

    folder: Path
    record: object  # threetoe.run.record.Run


def train(**options) -> Trained | None:
    """The run that a training leaves; None with `preview` or `dry_run`, which print."""
    from threetoe.options.command import configure
    from threetoe.options.train import TrainConfig
    from threetoe.run import record
    from threetoe.train import train as flow

    for name in ("then", "rehearse"):
        if options.get(name):
            raise UserError(f"{name}: train() only trains; train.py --{name} does more.")
    folder = flow.train(configure(TrainConfig, options))
    return Trained(*record.load(folder)) if folder else None


def infer(prompt: str | None = None, **options) -> list[str]:
    """The answers of a run, in the order of the questions: one of `prompt`, or one a row of
    `file`."""
    from threetoe.infer import infer as flow
    from threetoe.options.command import configure
    from threetoe.options.infer import InferConfig

    for name in ("output", "evaluate", "compare_base", "blind"):
        if options.get(name):
            raise UserError(f"{name}: infer() returns the run's answers; infer.py has --{name}.")
    return [reply for _, reply in flow.ask(configure(InferConfig, {"prompt": prompt, **options}))]


def export(**options) -> dict[str, Path]:
    """The folder of every format that was written, by its name; each is proven as by export.py."""
    from threetoe.export import export as flow
    from threetoe.options.command import configure
    from threetoe.options.export import ExportConfig

    return flow.export(configure(ExportConfig, options))


def load_model(config, adapter: Path | None):
    """What the hook load_model of Threetoe itself returns, for one that wraps it."""
    from threetoe.backend import model

    return model.load_model(config, adapter)


def build_trainer(model, tokenizer, rows, arguments: dict, callbacks: dict, validation):
    """What the hook build_trainer of Threetoe itself returns, for one that wraps it."""
    from threetoe.train import trainer

    return trainer.build_trainer(model, tokenizer, rows, arguments, callbacks, validation)


def write_merged(run, folder: Path, config) -> None:
    """Fill a folder as export.py --merged does, for an exporter that adds to it."""
    from threetoe.export.merge import exporters

    exporters.write_merged(run, folder, config)
