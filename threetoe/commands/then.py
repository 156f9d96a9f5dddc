"""train.py --then "export ...": an export in the session of its training, checked before it."""

import shlex
from dataclasses import replace
from pathlib import Path

from threetoe.backend.model import choose_model
from threetoe.backend.precision import count_parameters
from threetoe.errors import Checks, UserError
from threetoe.export.export import export, plan_export
from threetoe.export.formats import format_of
from threetoe.machine.libraries import has_gpu
from threetoe.machine.terminal import say
from threetoe.options.command import read_words
from threetoe.options.export import ExportConfig
from threetoe.options.train import TrainConfig
from threetoe.run import base, record
from threetoe.train.durable.out_of_memory import free_memory
from threetoe.train.train import train

SECONDS = 10  # a format takes, and for each billion parameters of the base:
WRITTEN, PROVEN, PROVEN_ON_GPU = 20, 370, 40  # on one CPU core, measured; on a GPU, guessed


def train_then(config: TrainConfig) -> None:
    """Train, then export; nothing begins where one of both would be refused."""
    checks = Checks(config.problems)
    asked = checks(read_then, config)
    after = checks(plan_then, asked, config) if asked else 0
    folder = train(replace(config, problems=tuple(checks.problems), after=after or 0))
    if folder:
        free_memory()
        export(replace(asked, run=folder))


def read_then(config: TrainConfig) -> ExportConfig:
    """The export that --then asks for, with the plugins of the training."""
    try:
        words = shlex.split(config.then)
    except ValueError as error:
        raise UserError(f"--then '{config.then}': {error}.") from error
    words = words[words[:1] == ["python"] :]
    if words[:1] not in (["export"], ["export.py"]):
        raise UserError(
            f"--then '{config.then}': an export can follow, as in --then 'export --merged DIR'."
        )
    asked = read_words(ExportConfig, words[1:])
    if asked.run or asked.template:
        raise UserError("--then: the run is the one that is trained, and so is its template.")
    named = (*config.plugin, *(one for one in asked.plugin if one not in config.plugin))
    return replace(asked, plugin=named, settings=(*config.settings, *asked.settings))


def plan_then(asked: ExportConfig, config: TrainConfig) -> float:
    """The seconds that an export of the run will take, which are said; UserError where it would be
    refused, as far as that can be known before there is a run."""
    model = config.model or choose_model()
    base.check_model(model)
    config = base.resolve_precision(replace(config, model=model))[0]
    folder = config.output_dir or Path("runs", "it")
    try:
        untrained = record.foreign(None, model, config.load_in_4bit)
        job = plan_export(replace(asked, run=folder), untrained)
    except UserError as error:
        raise UserError(*(f"--then: {problem}" for problem in error.problems)) from None
    proof = (PROVEN_ON_GPU if has_gpu() else PROVEN) * asked.verify
    merges = sum(format_of(name).merges for name in job.outputs)
    seconds = SECONDS * max(len(job.outputs), 1)
    seconds += merges * (WRITTEN + proof) * count_parameters(model) / 1e9
    if config.is_timed:
        push = "; the push is not in it" * bool(asked.push)
        say(f"--then: about {seconds:.0f} s of the time are kept, by the size of {model}{push}")
    return seconds
