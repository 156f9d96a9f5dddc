"""The training flow: check everything, encode, load the model, train, save the run."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import click

from threetoe.backend import token_rows
from threetoe.backend.model import (
    TINY,
    check_length,
    choose_model,
    count_token_rows,
    load_tokenizer,
    locate,
    read_sizes,
    save_adapter,
)
from threetoe.backend.optimizers import check_arguments
from threetoe.backend.targets import choose_targets
from threetoe.backend.tokenizer_file import read_tokenizer
from threetoe.backend.training_arguments import choose_training_arguments
from threetoe.hooks.of_run import as_record, note_used
from threetoe.machine.libraries import chatter_hidden, has_gpu, load_unsloth
from threetoe.machine.processes import is_first
from threetoe.machine.terminal import clear_line, say, show_progress
from threetoe.options.config_file import write_config
from threetoe.options.schedule import LEARNING_RATE, WIDTH
from threetoe.options.train import TrainConfig, options_of
from threetoe.prompt import new_tokens
from threetoe.prompt.encode import stop_ids
from threetoe.prompt.from_tokenizer import from_tokenizer, unlike_own
from threetoe.prompt.template import hash_of
from threetoe.prompt.tokenizer import fingerprint, marks_of
from threetoe.run import base, probes, record
from threetoe.run.losses import read_points
from threetoe.train import preview
from threetoe.train.batch_size import resolve_batch_size
from threetoe.train.durable import checkpoint, resume
from threetoe.train.durable.checkpoint import check_room, writing
from threetoe.train.plan import TrainPlan, plan_training
from threetoe.train.prepare import Prompting
from threetoe.train.preview import announce
from threetoe.train.row_sets import RowSets, encode_sources
from threetoe.train.trainer import collect_metrics
from threetoe.train.watch import closing, curves


def train(config: TrainConfig) -> Path | None:
    """Train as the configuration says; the run folder that it leaves, or None where --preview or
    --dry-run only looks. What happens is said on standard error."""
    looking = config.preview or config.dry_run
    job, prompting, rows = encode_rows(plan_training(config), looking)
    if config.preview:
        click.echo(preview.show_first(rows, prompting, config.preview))
    if looking:
        return job.hooks.end()
    fit(job, prompting, rows)
    return job.folder


def encode_rows(job: TrainPlan, looking: bool) -> tuple[TrainPlan, Prompting, RowSets]:
    """The plan with all that follows from the base's tokenizer and configuration, and the rows,
    which are announced."""
    if not looking:
        show_progress("importing torch and the libraries over it")
        load_unsloth()
        clear_line()
    job = resolve_batching(resolve_model(job))
    tokenizer = (looking and tokenizer_to_look(job)) or load_tokenizer(job.config.model)
    check_length(job.config)
    job = job._replace(config=choose_targets(job.config))
    if job.template is None:
        own = from_tokenizer(tokenizer, marks_of(tokenizer), job.config.model)
        job = job._replace(template=own)
    job = arrange_tokens(job, tokenizer)
    config = job.config
    learned = config.train_on_inputs, config.train_on == "last"
    given = job.template, marks_of(tokenizer), tokenizer, config.max_seq_length
    prompting = Prompting(*given, *learned)
    rows = encode_sources(job, prompting)
    job = resolve_learning_rate(job)
    check_arguments(job.config)
    job = resolve_batch_size(resolve_precision(job), rows)
    for line in job.notes:
        say(line)
    announce(job.config, job.template, rows)
    if job.config.save_config:
        write_config(options_of(job.config), job.config.save_config)
    return job, prompting, rows


def tokenizer_to_look(job: TrainPlan):
    """The tokenizer that a look needs, from its files alone where that is the same; else None."""
    named = job.template is not None and job.config.new_tokens == "text"
    return read_tokenizer(Path(locate(job.config.model))) if named else None


def resolve_model(job: TrainPlan) -> TrainPlan:
    """The plan with a model: the one asked for, or the default of this machine."""
    if job.config.model and Path(job.config.model).expanduser().is_dir():
        there = str(Path(job.config.model).expanduser().resolve())  # asked from anywhere later
        return job._replace(config=replace(job.config, model=there))
    if job.config.model:
        return job
    model = choose_model()
    if model == TINY:
        job = job.note(
            "no CUDA GPU: training the embedded tiny model on the CPU (choose with --model)"
        )
    return job._replace(config=replace(job.config, model=model))


def resolve_learning_rate(job: TrainPlan) -> TrainPlan:
    """The plan with a learning rate: the one asked for, or one for the base's width, which is
    said where it is not that of a Llama of 8B."""
    if job.config.learning_rate:
        return job
    width = min(read_sizes(job.config.model).hidden_size, WIDTH)
    rate = float(f"{LEARNING_RATE * WIDTH / width:.1e}")
    if rate != LEARNING_RATE:
        why = f"for a base of hidden size {width} (--learning-rate chooses)"
        job = job.note(f"learning rate {rate:g}, {why}")
    return job._replace(config=replace(job.config, learning_rate=rate))


def resolve_batching(job: TrainPlan) -> TrainPlan:
    """The plan with a batching strategy that Unsloth has on this machine, which is said."""
    if job.config.batching_strategy == "padding" or has_gpu():
        return job
    job = job.note("packing needs a CUDA GPU: Unsloth's CPU backend trains padded rows instead")
    return job._replace(config=replace(job.config, batching_strategy="padding"))


def resolve_precision(job: TrainPlan) -> TrainPlan:
    """The plan with 4 or 16 bits chosen for the base, which is said."""
    config, precision, line = base.resolve_precision(job.config)
    return job._replace(config=config, precision=precision).note(f"{config.model}: {line}")


def arrange_tokens(job: TrainPlan, tokenizer) -> TrainPlan:
    """The plan with what --new-tokens makes of the template's special tokens, which is said."""
    held = count_token_rows(job.config.model)
    template, rows, line = new_tokens.arrange(job.template, tokenizer, job.config, held)
    for said in (line, unlike_own(job.template, tokenizer, job.config.model)):
        if said:
            job = job.note(said)
    return job._replace(template=template, config=replace(job.config, token_rows=rows))


def fit(job: TrainPlan, prompting: Prompting, rows: RowSets) -> None:
    """Load the model, train it on encoded rows, and save the run."""
    from threetoe.train.durable.saving import Saving
    from threetoe.train.watch.callbacks import guarded_callbacks  # unsloth is imported by now

    config, hooks, folder = job.config, job.hooks, job.folder
    training, validation = rows.to_train(), rows.to_validate()
    same = resume.identity(config, hash_of(vars(job.template)), hooks.theirs(), training)
    found = resume.begin(config, folder, same)
    model = load_to_train(job, prompting.tokenizer)
    facts = {"identity": same, "base": resume.hash_of_base(model)}
    resume.check_base(found, facts["base"])
    check_room(model, folder, config.save_total_limit, config.load_best_model_at_end)
    arguments = choose_training_arguments(config, folder)
    arguments, _ = hooks.chain("map_training_args", "arguments", arguments, config=config)
    held = record.start(folder, options_of(config))
    save_account(rows, folder)
    callbacks, failures = guarded_callbacks(hooks, config, rows, prompting)
    saving = Saving(folder, facts, config, callbacks, failures)
    trainer = hooks.first(
        "build_trainer", model=model, tokenizer=prompting.tokenizer, rows=training,
        arguments=arguments, callbacks=callbacks, validation=validation, config=config,
    )  # fmt: skip
    saving.take(trainer, found)
    try:
        with chatter_hidden(), hooks.name_culprit("training"):
            result = saving.train(trainer)
    except BaseException:
        clear_line()  # Ctrl-C leaves the progress where it was
        held.close()  # in a notebook the same call continues
        raise
    if is_first():
        metrics = keep(job, model, prompting, rows, saving, result)
        held.close()
        hooks.tell("after_train", trainer=trainer, metrics=metrics, folder=folder, config=config)
        closing.say_result(rows, folder, config, metrics)
    hooks.end()


def keep(job: TrainPlan, model, prompting: Prompting, rows: RowSets, saving, result) -> dict:
    """Save what was trained, here and in a mirror; what run.json says of it."""
    metrics = collect_metrics(result, saving, job.hooks, job.folder)
    with writing("The run", job.folder):
        save(job, model, prompting, metrics, rows)
    closing.look_back(model, prompting, rows, job, metrics)
    if saving.mirror:
        saving.mirror.finish(None)
    return metrics


def load_to_train(job: TrainPlan, tokenizer):
    """The model with its adapter, as plugins have it."""
    config, hooks = job.config, job.hooks
    if config.model != TINY and not Path(config.model).expanduser().is_dir():
        say(f"loading {config.model}; the first time it is downloaded")
    model = hooks.first("load_model", config=config, adapter=None)
    if config.token_rows:
        token_rows.check_trained(model)
    model, _ = hooks.chain("map_model", "model", model, tokenizer=tokenizer, config=config)
    return model


def save_account(rows: RowSets, folder: Path) -> None:
    """Before the training: by its end the cache that holds the logs may have been emptied."""
    if not is_first():
        return
    probes.keep(rows.training, rows.trained, folder)
    rows.save(folder)


def save(job: TrainPlan, model, prompting: Prompting, metrics: dict, rows: RowSets) -> None:
    """Adapter and tokenizer first, run.json last: only then is the folder a run."""
    template, folder, added = job.template, job.folder, job.config.token_rows
    tokenizer, marks = prompting.tokenizer, prompting.marks
    tokenizer.chat_template = template.jinja(marks, tokenizer)
    stops = stop_ids(template.end(marks), tokenizer)
    save_adapter(model, tokenizer, folder, stops)
    title = f"Loss: {folder.name}, base {Path(job.config.model).name}"
    curves.draw(folder / record.LOSS, read_points(folder / record.METRICS), title)
    finished = record.Run(
        options=options_of(job.config),
        template=vars(template),
        marks=marks._asdict(),
        stop_ids=stops,
        template_hash=hash_of(vars(template)),
        tokenizer_hash=fingerprint(tokenizer),
        precision=job.precision,
        data=rows.account(),
        vocab_size=added.total if added and added.total > added.held else 0,
        metrics=metrics,
        packages=record.package_versions(),
        plugins=[as_record(plugin) for plugin in job.hooks.theirs()],
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    record.finish(folder, finished)
    checkpoint.prune(folder, 0)
    note_used(job.hooks.theirs())
