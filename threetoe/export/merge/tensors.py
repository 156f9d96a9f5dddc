"""The bytes of one merged tensor, piece by piece: read, summed in fp32, rounded once."""

from collections.abc import Callable, Iterator
from typing import BinaryIO

from threetoe.backend.checkpoint import FLOATS, Stored, load, numbers
from threetoe.errors import UserError
from threetoe.export.merge.changes import Change
from threetoe.export.merge.nf4 import Packed, step_of, stored_rows
from threetoe.export.merge.options import MergeOptions
from threetoe.export.merge.rounding import DROPPED, Chance

CHUNK = 2**18  # numbers worked on at once: 1 MB of fp32, which stays in a core's cache


def merge_tensor(
    source: Stored, output: Stored, change: Change, options: MergeOptions
) -> Iterator[memoryview]:
    """The bytes of one merged tensor in pieces of whole rows; a piece holds until the next."""
    by_chance = options.rounding == "stochastic" and change.parts and output.dtype in DROPPED
    chance = Chance(output.name, output.shape) if by_chance else None
    lora = {name: load(part).float() for name, part in change.parts.items() if name != "whole"}
    used = None if "whole" in change.parts else options.as_used(source.name)
    source = change.parts.get("whole", source)
    with open(source.file, "rb", buffering=0) as file:
        if lora or used or source.dtype != output.dtype or isinstance(source, Packed):
            yield from summed(file, source, output, change, lora, used, chance)
        else:
            yield from copied(file, source)


def cut(source: Stored) -> tuple[int, int, int]:
    """(rows, columns, rows to work on at once) of a tensor, seen as a matrix."""
    height = source.shape[0] if source.shape else 1
    columns = source.count // max(1, height)
    return height, columns, step_of(max(1, CHUNK // max(1, columns)), columns, source)


def copied(file: BinaryIO, source: Stored) -> Iterator[memoryview]:
    """A tensor's own bytes, of any dtype, in pieces of whole rows."""
    height, _, rows = cut(source)
    step = max(1, rows * (source.size // max(1, height)))
    room = memoryview(bytearray(min(step, source.size)))
    for start in range(0, source.size, step):
        yield read_into(file, source.start + start, room[: min(step, source.size - start)])


def summed(
    file: BinaryIO, source: Stored, output: Stored, change: Change, lora: dict, used, chance
) -> Iterator[memoryview]:
    """A tensor with what the adapter adds, in the output's dtype; behind the base's rows those of
    tokens for which it has none."""
    new_rows = lora.pop("rows", None)
    height, columns, step = cut(source)
    if change.rows:
        refuse_infinite(new_rows, output)
        if chance:
            chance.round(new_rows, list(change.rows), output.dtype)
    if "magnitude" in lora and change.flipped:
        step = height  # DoRA divides by the norm of whole outputs, here columns
    rows = rows_of(file, source)
    rows = used(rows, (height, columns), step) if used else rows
    total, width = output.shape[0] if output.shape else 1, output.size // max(1, output.count)
    room = memoryview(bytearray(min(step, total) * columns * width))
    for first in range(0, total, step):
        last = min(first + step, total)
        written = room[: (last - first) * columns * width]
        block = numbers(written, output).view(-1, columns)
        if first < height:
            here = slice(first, min(last, height))
            merged = rows(here.start, here.stop).float()
            merged = add_lora(merged, lora, here, change) if lora else merged
            refuse_infinite(merged, output)
            if chance and (lora or "whole" in change.parts):
                chance.round(merged, here, output.dtype)
            block[: len(merged)].copy_(merged)
        for place, row in enumerate(change.rows):
            if first <= row < last:
                block[row - first] = new_rows[place]
        yield written


def rows_of(file: BinaryIO, source: Stored) -> Callable:
    """The function `rows(first, last)` that reads some rows of a tensor, as a torch tensor that
    holds until its next call."""
    room = bytearray()

    def read(start: int, count: int) -> memoryview:
        nonlocal room
        if len(room) < count:
            room = bytearray(count)
        return read_into(file, start, memoryview(room)[:count])

    if isinstance(source, Packed):
        return stored_rows(source, read)
    row = source.size // max(1, source.shape[0] if source.shape else 1)

    def rows(first: int, last: int):
        raw = read(source.start + first * row, (last - first) * row)
        return numbers(raw, source).view(last - first, -1)

    return rows


def read_into(file: BinaryIO, start: int, room: memoryview) -> memoryview:
    """The bytes of a file from `start` on that fill the room."""
    file.seek(start)
    rest = room
    while rest:
        count = file.readinto(rest)
        if not count:
            raise UserError(f"{file.name} ended early: it changed since it was checked.")
        rest = rest[count:]
    return room


def add_lora(weight, lora: dict, here: slice, change: Change):
    """W + scale * (B @ A) for the rows `here` of W, all in fp32; W may be overwritten.

    The operations and their order are those of peft.tuners.lora.layer.Linear.get_delta_weight
    and, with a magnitude m, of DoraLinearVariant.merge_unsafe: m / |W + scale * B @ A| scales
    each output (arxiv.org/abs/2402.09353). A product's bits do not depend on the rows it is cut
    into.
    """
    import torch

    a, b = lora["A"], lora["B"]
    delta = (b @ a[:, here]).T if change.flipped else b[here] @ a
    weight += delta.mul_(change.scale)
    if "magnitude" not in lora:
        return weight
    norm = torch.linalg.norm(weight.T if change.flipped else weight, dim=1)
    factor = lora["magnitude"] / norm
    return weight.mul_(factor if change.flipped else factor.view(-1, 1))


def refuse_infinite(merged, output: Stored) -> None:
    """UserError when a sum in fp32 is nan or beyond the largest number of the output's dtype."""
    import torch

    low, high = torch.aminmax(merged)  # nan when any number is; ten times faster than isfinite
    largest = torch.finfo(getattr(torch, FLOATS[output.dtype])).max
    if not -largest <= low <= high <= largest:
        raise UserError(
            f"{output.name} merges to inf or nan in {FLOATS[output.dtype]} (largest {largest:.5g}):"
            " use bfloat16 or float32, or another adapter if its training diverged."
        )
