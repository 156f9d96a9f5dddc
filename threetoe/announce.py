"""Says on standard error what is about to be trained: rows, tokens, steps, epochs."""

import math

import click

from threetoe.batches import packs_of
from threetoe.config import TrainConfig
from threetoe.row_sets import RowSets

MANY_EPOCHS = 20


def steps_and_epochs(config: TrainConfig, rows: int) -> tuple[int, float]:
    """Optimizer steps and passes over the data, as transformers' Trainer counts them: the last
    step of an epoch takes the batches that are left."""
    batches = math.ceil(rows / config.per_device_train_batch_size)
    each_epoch = math.ceil(batches / config.gradient_accumulation_steps)
    steps = config.steps or math.ceil(each_epoch * config.num_train_epochs)
    return steps, steps / each_epoch


def stopped_early(stopped: dict):
    """A line for each stop string of the template that answers to be learned contain."""
    for stop, (count, first) in stopped.items():
        found = "1 answer contains" if count == 1 else f"{count:,} answers contain"
        yield f"{found} {stop!r}, where infer.py stops (first: {first})"


def announce(config: TrainConfig, template, rows: RowSets) -> None:
    """What is about to be trained, in a few lines on standard error."""
    for line in [*rows.lines(), *stopped_early(rows.training.notes["stopped"])]:
        say(line)
    account = rows.account()
    lengths = account["lengths"]
    say(
        f"{account['tokens']:,} tokens, {100 * account['learned_share']:.0f} % learned; rows of "
        f"{lengths['median']} tokens (median), {lengths['p95']} (95th percentile), "
        f"{lengths['longest']} at most"
    )
    count, what = account["trained"], "rows"
    if config.batching_strategy == "packing":
        count, what = packs_of(rows.lengths().tolist(), config.max_seq_length), "packs"
    steps, epochs = steps_and_epochs(config, count)
    each = config.per_device_train_batch_size * config.gradient_accumulation_steps
    say(
        f"{steps:,} steps of {min(each, count)} {what} = {epochs:.1f} epochs; template "
        f"{template.name}, model {config.model}"
    )
    if epochs > MANY_EPOCHS and config.steps:
        say("that is many passes over the same rows; --num-train-epochs 3 is a usual choice")


def say(line: str) -> None:
    click.echo(line, err=True)
