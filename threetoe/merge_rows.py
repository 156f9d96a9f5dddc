"""The bytes of one merged tensor, piece by piece: read, summed in fp32, rounded once."""

import math
from collections.abc import Callable, Iterator

from threetoe.adapter_rows import Change
from threetoe.errors import UserError
from threetoe.shards import FLOATS, Stored

CHUNK = 2**18  # numbers worked on at once: 1 MB of fp32, which stays in a core's cache


def merge_tensor(
    source: Stored, output: Stored, change: Change, as_used: Callable
) -> Iterator[memoryview]:
    """The bytes of one merged tensor in pieces of whole rows; a piece holds until the next."""
    lora = {name: load(part) for name, part in change.parts.items() if name != "whole"}
    new_rows = lora.pop("rows", None)
    used = None if "whole" in change.parts else as_used(source.name)
    source = change.parts.get("whole", source)
    rows = source.shape[0] if source.shape else 1
    columns = source.count // max(1, rows)
    # DoRA divides by the norm of whole outputs, here columns, so such a tensor is not cut.
    whole = used or ("magnitude" in lora and change.flipped)
    step = rows if whole else max(1, CHUNK // max(1, columns))
    room = Room(min(step, rows) * columns, source, output)
    with open(source.file, "rb", buffering=0) as file:
        file.seek(source.start)
        for first in range(0, rows, step):
            here = slice(first, min(first + step, rows))
            raw, written = room.views((here.stop - first) * columns)
            read_into(file, raw, source)
            if lora or used or raw is not written:
                weight = numbers(raw, source).view(-1, columns)
                weight = (used(weight) if used else weight).float()
                merged = add_lora(weight, lora, here, change) if lora else weight
                rounded = numbers(written, output).view(-1, columns).copy_(merged)
                refuse_infinite(rounded, output)
            if change.rows:
                put_rows(written, output, first, new_rows, change)
            yield written
    if change.rows:
        yield from further_rows(rows, output, new_rows, change)


class Room:
    """The memory for one piece as it is read, and as it is written: the same where types agree."""

    def __init__(self, count: int, source: Stored, output: Stored):
        self.widths = [tensor.size // max(1, tensor.count) for tensor in (source, output)]
        self.read = bytearray(count * self.widths[0])
        same = source.dtype == output.dtype
        self.written = self.read if same else bytearray(count * self.widths[1])

    def views(self, count: int) -> tuple[memoryview, memoryview]:
        """Where `count` numbers are read to, and written."""
        raw = memoryview(self.read)[: count * self.widths[0]]
        if self.written is self.read:
            return raw, raw
        return raw, memoryview(self.written)[: count * self.widths[1]]


def read_into(file, raw: memoryview, source: Stored) -> None:
    while raw:
        count = file.readinto(raw)
        if not count:
            raise UserError(f"{source.file} ended while {source.name} was read.")
        raw = raw[count:]


def further_rows(held: int, output: Stored, new_rows, change: Change) -> Iterator[memoryview]:
    """Yields the rows of tokens for which the base, with its `held` rows, has none."""
    row = output.size // output.shape[0]
    step = max(1, CHUNK // output.shape[1])
    for first in range(held, output.shape[0], step):
        written = memoryview(bytearray(min(step, output.shape[0] - first) * row))
        put_rows(written, output, first, new_rows, change)
        yield written


def put_rows(written: memoryview, output: Stored, first: int, new_rows, change: Change) -> None:
    """Writes into a piece that begins at row `first` those of an adapter's new rows that it has."""
    piece = numbers(written, output).view(-1, output.shape[1])
    for place, row in enumerate(change.rows):
        if first <= row < first + len(piece):
            refuse_infinite(piece[row - first].copy_(new_rows[place]), output)


def numbers(raw: memoryview, stored: Stored):
    """The bytes as a flat tensor of the stored dtype, sharing their memory."""
    import torch

    return torch.frombuffer(raw, dtype=getattr(torch, FLOATS[stored.dtype]))


def load(part: Stored):
    """A tensor of the adapter in fp32, in its own shape."""
    raw = bytearray(part.size)
    with open(part.file, "rb") as file:
        file.seek(part.start)
        file.readinto(raw)
    return numbers(memoryview(raw), part).view(part.shape).float()


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


def refuse_infinite(rounded, output: Stored) -> None:
    """UserError when a result is inf or nan, with the largest number that the dtype holds."""
    import torch

    low, high = torch.aminmax(rounded)  # nan when any number is; ten times faster than isfinite
    if not -math.inf < low <= high < math.inf:
        largest = torch.finfo(rounded.dtype).max
        raise UserError(
            f"{output.name} merges to inf or nan in {FLOATS[output.dtype]} (largest {largest:.5g}):"
            " use bfloat16 or float32, or another adapter if its training diverged."
        )
