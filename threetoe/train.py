"""The training flow: check everything, encode, load the model, train, save the run."""

import math
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import click

from threetoe import backend, preview, token_rows, tokens
from threetoe import base as bases
from threetoe import run as runs
from threetoe.announce import announce, say
from threetoe.batches import dataset_of
from threetoe.config import TrainConfig, options_of
from threetoe.data import Conversation, Ledger, read_conversations
from threetoe.encode import encode, marks_of, statistics_of, stop_ids
from threetoe.errors import Checks, Failure, UserError
from threetoe.from_tokenizer import NAME, from_tokenizer, jinja_of
from threetoe.hooks import Hooks
from threetoe.plugins import load_plugins
from threetoe.quiet import chatter_hidden, clear_line
from threetoe.run_plugins import as_record, note_used
from threetoe.template import Piece, Template, hash_of
from threetoe.template_file import find_template, known_templates


class Plan(NamedTuple):
    """A training call whose every name, file and folder has been checked."""

    config: TrainConfig
    hooks: Hooks
    template: Template | None  # None until the tokenizer is there: from-tokenizer
    conversations: list[Conversation]
    ledger: Ledger
    folder: Path


def plan(config: TrainConfig) -> Plan:
    """Check all that can be checked without torch; one UserError with all problems."""
    checks = Checks(config.problems)
    hooks = load_plugins(config, checks)
    template = None
    if config.template != NAME:
        known = known_templates(hooks)
        template = checks(find_template, config.template, known)
    data = checks(read_conversations, config.dataset, config, hooks)
    folder = config.output_dir or runs.default_folder(config)
    checks(runs.check_folder, folder)
    checks(bases.check_model, config.model)
    checks.done()
    if config.max_steps is None and config.num_train_epochs is None:
        config = replace(config, max_steps=60)
    return Plan(config, hooks, template, *data, folder)


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
    marks = marks_of(tokenizer)
    rows = encode_conversations(job, tokenizer, marks)
    figures = statistics_of([encoded for _, _, encoded in rows])
    check_ends(rows, stop_ids(job.template.end(marks), tokenizer), job.config)
    announce(job.config, job.template, job.conversations, job.ledger, figures)
    if looking:
        if config.preview:
            click.echo(preview.show_rows(rows[: config.preview], preview.in_colour()))
        return job.hooks.say_seconds()
    fit(job, tokenizer, marks, [encoded for _, _, encoded in rows], figures)


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


def encode_conversations(job: Plan, tokenizer, marks) -> list:
    """(where, pieces, encoded) of every row that has something to learn; the ledger is kept."""
    pieces = [pieces_of(conversation, job.template, marks) for conversation in job.conversations]
    encoded = encode(
        pieces, tokenizer, job.config.max_seq_length, learn_all=job.config.train_on_inputs
    )
    rows, ledger = [], job.ledger
    for conversation, parts, row in zip(job.conversations, pieces, encoded, strict=True):
        if not any(label >= 0 for label in row.labels):
            ledger.drop(conversation.where, "nothing to learn within --max-seq-length")
            continue
        if row.full_length > len(row.input_ids):
            ledger.truncated.append(conversation.where)
        rows.append((conversation.where, parts, row))
    ledger.kept = len(rows)
    if not rows:
        raise UserError(
            f"No row has anything to learn within --max-seq-length {job.config.max_seq_length}; "
            f"the shortest has {min(row.full_length for row in encoded)} tokens."
        )
    return rows


def pieces_of(conversation: Conversation, template, marks) -> list[Piece]:
    """A conversation's pieces; UserError names the row that a base's own template refuses."""
    try:
        return template.pieces(conversation.messages, marks)
    except UserError as error:
        raise UserError(
            *(f"{conversation.where}: {problem}" for problem in error.problems)
        ) from None


def check_ends(rows: list, stops: list[int], config: TrainConfig) -> None:
    """UserError unless every whole answer ends in a stop id, and some answer is whole."""
    whole = [(where, row) for where, _, row in rows if row.full_length == len(row.input_ids)]
    if not whole:
        raise UserError(
            f"--max-seq-length {config.max_seq_length} cuts every answer, so none would learn to "
            f"end; the shortest row has {min(row.full_length for _, _, row in rows)} tokens."
        )
    for where, row in whole:
        if row.labels[-1] not in stops:
            raise UserError(f"{where}: the answer has no end token; the template must end it.")


def fit(job: Plan, tokenizer, marks, rows: list, figures: dict) -> None:
    """Load the model, train it on encoded rows, and save the run."""
    from threetoe.callbacks import guarded_callbacks  # unsloth is imported by now

    config, hooks, folder = job.config, job.hooks, job.folder
    hooks.config = config
    if config.model != backend.TINY and not Path(config.model).expanduser().is_dir():
        say(f"loading {config.model}; the first time it is downloaded")
    model = hooks.first("load_model", adapter=None)
    if config.token_rows:
        token_rows.check_trained(model)
    model, _ = hooks.chain("map_model", "model", model, tokenizer=tokenizer)
    arguments = backend.training_arguments(config, folder)
    arguments, _ = hooks.chain("map_training_args", "arguments", arguments)
    held = runs.start(folder, options_of(config))
    callbacks = guarded_callbacks(hooks)
    trainer = hooks.first(
        "build_trainer", model=model, tokenizer=tokenizer, rows=dataset_of(rows),
        arguments=arguments, callbacks=callbacks, validation=None,
    )  # fmt: skip
    began = time.monotonic()
    try:
        with chatter_hidden(), hooks.named_failures("training"):
            result = trainer.train()
    finally:
        clear_line()  # Ctrl-C leaves the progress where it was
    metrics = metrics_of(result, time.monotonic() - began, hooks)
    save(job, model, tokenizer, marks, metrics, figures)
    say(
        f"{metrics['steps']} steps in {metrics['seconds']:.0f} s, mean loss "
        f"{metrics['train_loss']:.4f}, saved in {folder}"
    )
    held.close()
    hooks.tell("after_train", trainer=trainer, metrics=metrics, folder=folder)
    hooks.say_seconds()


def metrics_of(result, seconds: float, hooks: Hooks) -> dict:
    """What run.json says of the training; Failure when it went astray."""
    if not math.isfinite(result.training_loss):
        raise Failure(
            f"The loss became {result.training_loss}, so nothing was saved; lower --learning-rate."
        )
    metrics = {"seconds": round(seconds, 1), "steps": result.global_step}
    metrics["train_loss"] = round(result.training_loss, 4)
    return metrics | ({"plugin_seconds": hooks.seconds()} if hooks.theirs() else {})


def save(job: Plan, model, tokenizer, marks, metrics: dict, figures: dict) -> None:
    """Adapter and tokenizer first, run.json last: only then is the folder a run."""
    template, folder, rows = job.template, job.folder, job.config.token_rows
    tokenizer.chat_template = jinja_of(template, tokenizer, marks)
    stops = stop_ids(template.end(marks), tokenizer)
    backend.save_adapter(model, tokenizer, folder, stops)
    record = runs.Run(
        options=options_of(job.config),
        template=vars(template),
        marks=marks._asdict(),
        stop_ids=stops,
        template_hash=hash_of(vars(template)),
        data={**job.ledger.as_dict(), **figures},
        vocab_size=rows.total if rows and rows.total > rows.held else 0,
        metrics=metrics,
        packages=runs.package_versions(),
        plugins=[as_record(plugin) for plugin in job.hooks.theirs()],
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    runs.finish(folder, record)
    note_used(job.hooks.theirs())
