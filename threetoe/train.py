"""The training flow: check everything, encode, load the model, train, save the run."""

import math
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import click

from threetoe import backend, preview, prompts, token_rows, tokens
from threetoe import base as bases
from threetoe import run as runs
from threetoe.announce import announce, say
from threetoe.config import TrainConfig, options_of
from threetoe.data import read_conversations
from threetoe.encode import marks_of, stop_ids
from threetoe.errors import Checks, Failure, UserError
from threetoe.from_tokenizer import NAME, from_tokenizer, jinja_of
from threetoe.hooks import Hooks
from threetoe.hub_checks import check_push
from threetoe.ledger import Ledger
from threetoe.plugins import load_plugins
from threetoe.prepare import Prompting
from threetoe.quiet import chatter_hidden, clear_line
from threetoe.row_sets import RowSets, Source, encode_sources
from threetoe.run_plugins import as_record, note_used
from threetoe.template import Template, hash_of
from threetoe.template_file import find_template, known_templates
from threetoe.trainer import validation_line, validation_metrics


class Plan(NamedTuple):
    """A training call whose every name, file and folder has been checked."""

    config: TrainConfig
    hooks: Hooks
    template: Template | None  # None until the tokenizer is there: from-tokenizer
    sources: list[Source]  # what to train on; then, with --val-split or --val-dataset, validation
    folder: Path


def plan(config: TrainConfig) -> Plan:
    """Check all that can be checked without torch; one UserError with all problems."""
    checks = Checks(config.problems)
    hooks = load_plugins(config, checks)
    known = known_templates(hooks)
    if config.template and config.template != NAME:
        checks(find_template, config.template, known)
    checks(check_one_length, config)
    sources = checks(read_sources, config, hooks)
    if not config.template:
        config = replace(config, template=template_of(sources[0].ledger) if sources else "alpaca")
    folder = config.output_dir or runs.default_folder(config)
    checks(runs.check_folder, folder)
    checks(bases.check_model, config.model)
    if config.push_to:
        checks(check_push, config.push_to)
    checks.done()
    template = None if config.template == NAME else find_template(config.template, known)
    return Plan(config, hooks, template, sources, folder)


def read_sources(config: TrainConfig, hooks: Hooks) -> list[Source]:
    """The conversations to train on and, where they have a source of their own, to validate on."""
    own = config.val_split or config.val_dataset
    if own and config.val_size:
        raise UserError(
            "--val-size takes validation rows from the training's; with --val-split or "
            "--val-dataset they have their own: choose one."
        )
    if config.eval_steps and not (own or config.val_size):
        raise UserError(
            f"--eval-steps {config.eval_steps}: there are no rows to measure the loss on; take "
            "some with --val-size, --val-split or --val-dataset."
        )
    sources = [Source(*read_conversations(config, hooks, limit=rows_needed(config)))]
    if own:
        changes = {"dataset_split": config.val_split or "validation"}
        if config.val_dataset not in (None, config.dataset):
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


def rows_needed(config: TrainConfig) -> int:
    """How many rows --streaming reads: what the steps take, and validation; 0 where that is not
    known beforehand."""
    counted = config.val_size is None or float(config.val_size) >= 1
    if not (config.streaming and config.steps and counted):
        return 0
    each = config.per_device_train_batch_size * config.gradient_accumulation_steps
    return config.steps * each + int(float(config.val_size or 0))


def template_of(ledger: Ledger) -> str:
    """The template where none is named: texts that bring their own frame get no other."""
    return "plain" if ledger.texts == ledger.kept else "alpaca"


def train(config: TrainConfig) -> None:
    """Train as the configuration says and leave a run folder; say what happens on stderr."""
    job = plan(config)
    looking = config.preview or config.dry_run
    if not looking:
        backend.prepare()
    job = resolve_batching(resolve_model(job))
    tokenizer = backend.load_tokenizer(job.config.model)
    backend.check_length(job.config)
    if job.template is None:
        own = from_tokenizer(tokenizer, marks_of(tokenizer), job.config.model)
        job = job._replace(template=own)
    job = with_tokens(job, tokenizer)
    prompting = prompting_of(job, tokenizer)
    rows = encode_sources(job, prompting)
    announce(job.config, job.template, rows)
    if looking:
        if config.preview:
            click.echo(preview.show_first(rows, prompting, config.preview))
        return job.hooks.say_seconds()
    fit(job, prompting, rows)


def resolve_model(job: Plan) -> Plan:
    """The plan with a model: the one asked for, or the default of this machine."""
    if job.config.model and Path(job.config.model).expanduser().is_dir():
        there = str(Path(job.config.model).expanduser().resolve())  # asked from anywhere later
        return job._replace(config=replace(job.config, model=there))
    if job.config.model:
        return job
    model = backend.default_model()
    if model == backend.TINY:
        say("no CUDA GPU: training the embedded tiny model on the CPU (choose with --model)")
    return job._replace(config=replace(job.config, model=model))


def resolve_batching(job: Plan) -> Plan:
    """The plan with a batching strategy that Unsloth has on this machine, which is said."""
    if job.config.batching_strategy == "padding" or backend.has_gpu():
        return job
    say("packing needs a CUDA GPU: Unsloth's CPU backend trains padded rows instead")
    return job._replace(config=replace(job.config, batching_strategy="padding"))


def with_tokens(job: Plan, tokenizer) -> Plan:
    """The plan with what --new-tokens makes of the template's special tokens, which is said."""
    held = backend.rows_held(job.config.model)
    template, rows, line = tokens.prepare(job.template, tokenizer, job.config, held)
    if line:
        say(line)
    return job._replace(template=template, config=replace(job.config, token_rows=rows))


def prompting_of(job: Plan, tokenizer) -> Prompting:
    config = job.config
    lengths = config.max_seq_length, config.train_on_inputs
    return Prompting(job.template, marks_of(tokenizer), tokenizer, *lengths)


def fit(job: Plan, prompting: Prompting, rows: RowSets) -> None:
    """Load the model, train it on encoded rows, and save the run."""
    from threetoe.callbacks import guarded_callbacks  # unsloth is imported by now

    config, hooks, folder = job.config, job.hooks, job.folder
    tokenizer = prompting.tokenizer
    hooks.config = config
    training, validation = rows.to_train(), rows.to_validate()
    if config.model != backend.TINY and not Path(config.model).expanduser().is_dir():
        say(f"loading {config.model}; the first time it is downloaded")
    model = hooks.first("load_model", adapter=None)
    if config.token_rows:
        token_rows.check_trained(model)
    model, _ = hooks.chain("map_model", "model", model, tokenizer=tokenizer)
    arguments = backend.training_arguments(config, folder)
    arguments, _ = hooks.chain("map_training_args", "arguments", arguments)
    held = runs.start(folder, options_of(config))
    save_account(rows, folder)
    callbacks = guarded_callbacks(hooks)
    trainer = hooks.first(
        "build_trainer", model=model, tokenizer=tokenizer, rows=training,
        arguments=arguments, callbacks=callbacks, validation=validation,
    )  # fmt: skip
    began = time.monotonic()
    try:
        with chatter_hidden(), hooks.named_failures("training"):
            result = trainer.train()
    finally:
        clear_line()  # Ctrl-C leaves the progress where it was
    metrics = metrics_of(result, time.monotonic() - began, hooks) | validation_metrics(folder)
    save(job, model, prompting, metrics, rows)
    say_result(metrics, rows, folder)
    held.close()
    hooks.tell("after_train", trainer=trainer, metrics=metrics, folder=folder)
    hooks.say_seconds()
    if config.push_to:
        say(f"push it: python export.py --run {folder} --push {config.push_to}")


def say_result(metrics: dict, rows: RowSets, folder: Path) -> None:
    say(
        f"{metrics['steps']} steps in {metrics['seconds']:.0f} s, mean loss "
        f"{metrics['train_loss']:.4f}, saved in {folder}"
    )
    if "eval_loss" in metrics:
        say(validation_line(metrics, len(rows.validated)))


def save_account(rows: RowSets, folder: Path) -> None:
    """Before the training: by its end the cache that holds the logs may have been emptied."""
    prompts.keep(rows.training, rows.trained, folder)
    not_drawn = rows.save(folder)
    if not_drawn:
        say(not_drawn)


def metrics_of(result, seconds: float, hooks: Hooks) -> dict:
    """What run.json says of the training; Failure when it went astray."""
    if not math.isfinite(result.training_loss):
        raise Failure(
            f"The loss became {result.training_loss}, so nothing was saved; lower --learning-rate."
        )
    metrics = {"seconds": round(seconds, 1), "steps": result.global_step}
    metrics["train_loss"] = round(result.training_loss, 4)
    return metrics | ({"plugin_seconds": hooks.seconds()} if hooks.theirs() else {})


def save(job: Plan, model, prompting: Prompting, metrics: dict, rows: RowSets) -> None:
    """Adapter and tokenizer first, run.json last: only then is the folder a run."""
    template, folder, added = job.template, job.folder, job.config.token_rows
    tokenizer, marks = prompting.tokenizer, prompting.marks
    tokenizer.chat_template = jinja_of(template, tokenizer, marks)
    stops = stop_ids(template.end(marks), tokenizer)
    backend.save_adapter(model, tokenizer, folder, stops)
    record = runs.Run(
        options=options_of(job.config),
        template=vars(template),
        marks=marks._asdict(),
        stop_ids=stops,
        template_hash=hash_of(vars(template)),
        data=rows.account(),
        vocab_size=added.total if added and added.total > added.held else 0,
        metrics=metrics,
        packages=runs.package_versions(),
        plugins=[as_record(plugin) for plugin in job.hooks.theirs()],
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    runs.finish(folder, record)
    note_used(job.hooks.theirs())
