"""What a training call asks for, checked before torch is loaded: names, files, rows, folder."""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from threetoe.backend.init_adapter import settle
from threetoe.backend.optimizers import check_optimizer, check_schedule
from threetoe.data.ledger import Ledger
from threetoe.data.read import read_conversations
from threetoe.errors import Checks, UserError
from threetoe.hooks.calls import Hooks
from threetoe.hooks.load import load_plugins
from threetoe.machine import processes
from threetoe.machine.hub import check_push
from threetoe.options.train import TrainConfig
from threetoe.prompt.new_tokens import WHOLE
from threetoe.prompt.template import Template
from threetoe.prompt.template_file import FROM_TOKENIZER, find_template, known_templates
from threetoe.run import base, record
from threetoe.train.durable import resume
from threetoe.train.durable.mirror import check_mirror
from threetoe.train.row_sets import Source
from threetoe.train.watch.prompts import check_watching


class TrainPlan(NamedTuple):
    """A training call whose every name, file and folder has been checked."""

    config: TrainConfig
    hooks: Hooks
    template: Template | None  # None until the tokenizer is there: from-tokenizer
    sources: list[Source]  # what to train on; then, with --val-split or --val-dataset, validation
    folder: Path
    precision: str = ""  # of the base, in words, once its configuration is there
    notes: tuple[str, ...] = ()  # what was chosen, to be said when nothing is left to refuse

    def note(self, line: str) -> "TrainPlan":
        return self._replace(notes=(*self.notes, line))


def plan_training(config: TrainConfig) -> TrainPlan:
    """Check all that can be checked without torch; one UserError with all problems."""
    checks = Checks(config.problems)
    checks(processes.check_whole)
    hooks = load_plugins(config, checks)
    known = known_templates(hooks, config)
    if config.template and config.template != FROM_TOKENIZER:
        checks(find_template, config.template, known)
    checks(check_one_length, config)
    checks(check_learned, config)
    checks(check_schedule, config)
    checks(check_optimizer, config)
    checks(check_watching, config)
    sources = checks(read_sources, config, hooks)
    if not config.template:
        template = choose_template(sources[0].ledger) if sources else "alpaca"
        config = replace(config, template=template)
    config = checks(settle, config) or config
    folder = config.output_dir or record.default_folder(config)
    checks(record.check_folder, folder, config.overwrite)
    if config.mirror:
        checks(check_mirror, config.mirror, folder, config.overwrite)
    if config.resume not in ("auto", "never"):
        checks(resume.find, config, folder)
    checks(base.check_model, config.model)
    checks(base.check_obtainable, config.model, "--model")
    checks(check_whole, config)
    if config.push_to:
        checks(check_push, config.push_to)
    checks.done()
    template = None if config.template == FROM_TOKENIZER else find_template(config.template, known)
    return TrainPlan(config, hooks, template, sources, folder)


def read_sources(config: TrainConfig, hooks: Hooks) -> list[Source]:
    """The conversations to train on and, where they have a source of their own, to validate on."""
    own = config.val_split or config.val_dataset
    if own and config.val_size:
        raise UserError(
            "--val-size takes validation rows from the training's; with --val-split or "
            "--val-dataset they have their own: choose one."
        )
    needing = "eval_steps eval_rows early_stopping_patience load_best_model_at_end metrics".split()
    for name in needing:
        flag, given = f"--{name.replace('_', '-')}", getattr(config, name)
        if given and not (own or config.val_size):
            asked = flag if given is True else f"{flag} {given}"
            raise UserError(
                f"{asked}: there are no rows to measure the loss on; take some with "
                "--val-size, --val-split or --val-dataset."
            )
    sources = [Source(*read_conversations(config, hooks, limit=count_rows_needed(config)))]
    if own:
        changes = {"dataset_split": config.val_split or "validation"}
        if config.val_dataset and config.datasets != (config.val_dataset,):
            of_the_other = {"dataset_path": None, "dataset_option": (), "dataset_subset": None}
            changes |= {"dataset": config.val_dataset, **of_the_other}
        sources.append(Source(*read_conversations(replace(config, **changes), hooks)))
    return sources


def check_one_length(config: TrainConfig) -> None:
    if config.max_steps and config.num_train_epochs:
        raise UserError(
            f"--max-steps {config.max_steps} and --num-train-epochs {config.num_train_epochs:g} "
            "both say how long the training is; leave one out."
        )


def check_whole(config: TrainConfig) -> None:
    for name in set(config.modules_to_save or ()) - WHOLE:
        raise UserError(
            f"--modules-to-save {name}: only {' and '.join(sorted(WHOLE))} are trained whole; "
            f"other layers get an adapter, --target-modules {name}."
        )


def check_learned(config: TrainConfig) -> None:
    if config.train_on_inputs and config.train_on == "last":
        raise UserError(
            "--train-on-inputs learns every token, --train-on last one answer; leave one out."
        )


def count_rows_needed(config: TrainConfig) -> int:
    """How many rows --streaming reads: what the steps take, and validation; 0 where that is not
    known beforehand."""
    counted = config.val_size is None or float(config.val_size) >= 1
    if not (config.streaming and config.steps and counted):
        return 0
    return config.steps * config.rows_a_step + int(float(config.val_size or 0))


def choose_template(ledger: Ledger) -> str:
    """The template where none is named: texts that bring their own frame get no other."""
    return "plain" if ledger.texts == ledger.kept else "alpaca"
