"""Shows rows as the model will see them: the learned part in colour, or in ⟦brackets⟧."""

import math
from itertools import groupby, islice

from threetoe.machine import processes
from threetoe.machine.terminal import in_colour, say, visible
from threetoe.messages import IGNORED
from threetoe.options.train import TrainConfig
from threetoe.options.types import MOST
from threetoe.prompt.encode import Encoded, text_of, trimmed
from threetoe.prompt.pieces import CUT, Piece, show_pieces
from threetoe.train.batches import packs_of
from threetoe.train.prepare import FILE, Prompting
from threetoe.train.row_sets import RowSets

MANY_EPOCHS, MANY_STEPS = 20, 20


def show_first(sets: RowSets, prompting: Prompting, count: int) -> str:
    """The first rows that are trained, to be printed."""
    wanted = set(sets.training.numbers[sets.trained[:count]].tolist())
    first = islice(sets.training.conversations, max(wanted) + 1)
    found = [c for number, c in enumerate(first) if number in wanted]
    rows = table_of(sets.training).take(sets.trained[: len(found)]).to_pydict()
    colour, shown = in_colour(), []
    for number, conversation in enumerate(found):
        ids, labels = rows["input_ids"][number], rows["labels"][number]
        if isinstance(conversation.messages, dict):
            pieces = spelt(ids, labels, prompting.tokenizer)
            full = len(conversation.messages["input_ids"])
        else:
            whole = trimmed(prompting.pieces(conversation))
            pieces, full = fitting(whole, prompting.tokenizer, len(ids))
        shown.append(show_row(conversation.where, pieces, Encoded(ids, labels, full), colour))
    return "\n\n".join(shown)


def table_of(encoded):
    """The rows of EncodedRows as a memory-mapped pyarrow.Table, without the import of datasets."""
    import pyarrow

    return pyarrow.ipc.open_stream(pyarrow.memory_map(str(encoded.folder / FILE))).read_all()


def fitting(pieces: list[Piece], tokenizer, room: int) -> tuple[list[Piece], int]:
    """The pieces as far as `room` tokens go, and how many tokens all of them are."""
    text, _ = text_of(pieces)
    encoding = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False)
    if len(encoding.ids) <= room:
        return pieces, len(encoding.ids)
    left, shown = encoding.offsets[room - 1][1], []
    for piece in pieces:
        left -= len(CUT) if piece.learned else 0
        shown.append(piece._replace(text=piece.text[: max(left, 0)]))
        left -= len(piece.text)
    return [piece for piece in shown if piece.text], len(encoding.ids)


def spelt(ids: list[int], labels: list[int], tokenizer) -> list[Piece]:
    """The text of ready ids, by what is learned of it."""
    pairs = zip(ids, labels, strict=True)
    return [
        Piece(tokenizer.decode([token for token, _ in run]), learned)
        for learned, run in groupby(pairs, lambda pair: pair[1] != IGNORED)
    ]


def show_row(where: str, pieces: list[Piece], encoded: Encoded, colour: bool) -> str:
    tokens = len(encoded.input_ids)
    learned = sum(label != IGNORED for label in encoded.labels)
    head = f"── {visible(where)}: {tokens} tokens, {learned} learned"
    if encoded.full_length > tokens:
        head += f", cut from {encoded.full_length}"
    return f"{head}\n{show_pieces(pieces, colour)}"


def steps_and_epochs(config: TrainConfig, rows: int) -> tuple[int, float]:
    """Optimizer steps and passes over the data, as transformers' Trainer counts them: the last
    step of an epoch takes the batches that are left."""
    batches = math.ceil(rows / config.per_device_train_batch_size / processes.count())
    each_epoch = math.ceil(batches / config.gradient_accumulation_steps)
    steps = config.steps or math.ceil(each_epoch * config.num_train_epochs)
    return steps, steps / each_epoch


def stopped_early(stopped: dict):
    """A line for each stop string of the template that answers to be learned contain."""
    for stop, (count, first) in stopped.items():
        found = "1 answer contains" if count == 1 else f"{count:,} answers contain"
        yield f"{found} {stop!r}, where infer.py stops (first: {first})"


def in_time(config: TrainConfig) -> str:
    """in 45 minutes, until 2030-01-31 14:30:00+01:00"""
    hours = f"into {60 * config.max_hours:.3g} minutes" if config.max_hours else ""
    until = f"until {config.finish_by.replace('T', ' ')}" if config.finish_by else ""
    return " and ".join(filter(None, (hours, until)))


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
    each = min(config.rows_a_step, count)
    what = f"{each} {what if each > 1 else what[:-1]}"
    passes = f"{epochs:.1f}" if epochs >= 0.1 else f"{epochs:.2g}"
    spans = f"{steps:,} step{'s' * (steps > 1)} of {what} = {passes} epochs"
    if config.is_timed:
        most = f", at most {spans}" * (steps < MOST)
        spans = f"as many steps of {what} as fit {in_time(config)}{most}"
    say(f"{spans}; template {template.name}, model {config.model}")
    few = 3 * count < MANY_STEPS * each  # three epochs of them would teach little
    if epochs > MANY_EPOCHS and config.steps and not config.is_timed and not few:
        say("that is many passes over the same rows; --num-train-epochs 3 is a usual choice")
