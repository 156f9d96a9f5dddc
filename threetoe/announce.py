"""Says on standard error what is about to be trained: rows, tokens, steps, epochs."""

import math

import click

from threetoe.config import TrainConfig
from threetoe.data import Conversation, Ledger

MANY_EPOCHS = 20


def steps_and_epochs(config: TrainConfig, rows: int) -> tuple[int, float]:
    """Optimizer steps and passes over the data, as transformers' Trainer counts them: the last
    step of an epoch takes the batches that are left."""
    batches = math.ceil(rows / config.per_device_train_batch_size)
    each_epoch = math.ceil(batches / config.gradient_accumulation_steps)
    steps = config.max_steps or math.ceil(each_epoch * config.num_train_epochs)
    return steps, steps / each_epoch


def stopped_early(template, conversations: list[Conversation]):
    """A line for each stop string of the template that answers to be learned contain."""
    for stop in template.stop:
        found = [
            c.where
            for c in conversations
            if any(stop in m["content"] for m in c.messages if m["role"] == "assistant")
        ]
        if found:
            count = "1 answer contains" if len(found) == 1 else f"{len(found)} answers contain"
            yield f"{count} {stop!r}, where infer.py stops (first: {found[0]})"


def announce(config: TrainConfig, template, conversations: list, ledger: Ledger, figures: dict):
    """What is about to be trained, in a few lines on standard error."""
    for line in [*ledger.lines(), *stopped_early(template, conversations)]:
        say(line)
    share = 100 * figures["learned_tokens"] / figures["tokens"]
    say(
        f"{figures['tokens']:,} tokens, {share:.0f} % learned; rows of {figures['median']} tokens "
        f"(median), {figures['longest']} at most"
    )
    steps, epochs = steps_and_epochs(config, ledger.kept)
    rows = config.per_device_train_batch_size * config.gradient_accumulation_steps
    say(
        f"{steps} steps of {min(rows, ledger.kept)} rows = {epochs:.1f} epochs; template "
        f"{template.name}, model {config.model}"
    )
    if epochs > MANY_EPOCHS and config.max_steps:
        say("that is many passes over the same rows; --num-train-epochs 3 is a usual choice")


def say(line: str) -> None:
    click.echo(line, err=True)
