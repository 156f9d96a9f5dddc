"""A streaming LoRA merge: base shards and an adapter in, merged shards out, no model built.

Every tensor passes through in pieces of a MB, summed in fp32 and rounded once. `check_merge`
says beforehand, from headers alone, whether all of it can be merged.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from threetoe.adapter import check_merge
from threetoe.adapter_rows import Change, grown_heights
from threetoe.errors import UserError, unknown
from threetoe.shards import FLOATS, WAITING, Stored, lay_out, write_index, write_shards

__all__ = ["check_merge", "merge"]

CHUNK = 2**18  # numbers worked on at once: 1 MB of fp32, which stays in a core's cache


def merge(
    base: Path,
    adapter: Path,
    target: Path,
    dtype: str | None = None,
    max_shard_size: int = 5 * 10**9,
    progress: Callable | None = None,
    as_used: Callable = lambda name: None,
) -> dict:
    """Writes base + adapter as safetensors into the folder `target`; weights and index only.

    `dtype` is float32, float16 or bfloat16; None keeps each base tensor's own. A shard holds at
    most `max_shard_size` bytes. `progress(done, total)` is told bytes after each tensor.
    `as_used(name)` is None, or a function from a base weight to what training used in its place
    (threetoe.nf4); such a weight passes whole, not in pieces.

    Returns tensors, merged (how many of them the adapter changed), bytes, dtype (that of most
    bytes) and vocab_size (None unless new tokens made it larger). Raises UserError before writing
    for whatever does not fit, and while writing for a result that is not finite; OSError when
    writing fails. The files written so far then stay in `target`: give it a folder that is renamed
    when all is well.
    """
    codes = {name: code for code, name in FLOATS.items()}
    if dtype is not None and dtype not in codes:
        raise unknown("dtype", dtype, codes)
    tensors, changes = check_merge(base, adapter)
    heights = grown_heights(tensors, changes)
    shards = lay_out(tensors, codes.get(dtype), target, max_shard_size, heights)
    buffers = deque(bytearray() for _ in range(WAITING + 1))
    with one_thread():
        tensor = partial(merge_tensor, changes=changes, buffers=buffers, as_used=as_used)
        write_shards(shards, tensor, progress)
    write_index(target, shards)
    sizes: dict[str, int] = {}
    for output in (output for pairs in shards for _, output in pairs):
        sizes[output.dtype] = sizes.get(output.dtype, 0) + output.size
    most = max(sizes, key=sizes.__getitem__)
    return {
        "tensors": len(tensors),
        "merged": len(changes),
        "bytes": sum(sizes.values()),
        "dtype": FLOATS.get(most, most),
        "vocab_size": max(heights.values(), default=None),
    }


@contextmanager
def one_thread():
    """Torch computes on one thread: the writer needs the other core, and on a busy machine the
    threads of one small operation wait for each other up to ten times as long as it takes."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def merge_tensor(
    source: Stored, output: Stored, changes: dict[str, Change], buffers: deque, as_used: Callable
) -> Iterator[memoryview]:
    """The bytes of one merged tensor, piece by piece, in buffers that are used in turn."""
    change = changes.get(source.name, Change())
    lora = {name: load(part) for name, part in change.parts.items() if name != "whole"}
    new_rows = lora.pop("rows", None)
    used = None if "whole" in change.parts else as_used(source.name)
    source = change.parts.get("whole", source)
    rows, columns = source.shape if lora or used or change.rows else (source.count, 1)
    # DoRA divides by the norm of whole rows or columns, so its tensors are not cut.
    step = rows if "magnitude" in lora or used else max(1, CHUNK // columns)
    with open(source.file, "rb") as file:
        file.seek(source.start)
        for first in range(0, rows, step):
            here = slice(first, min(first + step, rows))
            count = (here.stop - first) * columns
            read, room = (tensor.size * count // tensor.count for tensor in (source, output))
            written = take(buffers, room)
            same = source.dtype == output.dtype
            raw = written if same else memoryview(bytearray(read))
            if file.readinto(raw) != read:
                raise UserError(f"{source.file} ended while {source.name} was read.")
            if lora or used or not same:
                weight = numbers(raw, source).view(-1, columns)
                weight = (used(weight) if used else weight).float()
                merged = add_lora(weight, lora, here, change) if lora else weight
                rounded = numbers(written, output).view(-1, columns).copy_(merged)
                refuse_infinite(rounded, output)
            if change.rows:
                put_rows(written, output, first, new_rows, change)
            yield written
    if change.rows:
        yield from further_rows(rows, output, new_rows, change, buffers)


def further_rows(held: int, output: Stored, new_rows, change: Change, buffers: deque):
    """Yields the rows of tokens for which the base, with its `held` rows, has none."""
    columns = output.shape[1]
    step = max(1, CHUNK // columns)
    for first in range(held, output.shape[0], step):
        count = min(step, output.shape[0] - first) * columns
        written = take(buffers, output.size * count // output.count)
        put_rows(written, output, first, new_rows, change)
        yield written


def put_rows(written: memoryview, output: Stored, first: int, new_rows, change: Change) -> None:
    """Writes into a piece that begins at row `first` those of an adapter's new rows that it has."""
    piece = numbers(written, output).view(-1, output.shape[1])
    for place, row in enumerate(change.rows):
        if first <= row < first + len(piece):
            refuse_infinite(piece[row - first].copy_(new_rows[place]), output)


def take(buffers: deque, size: int) -> memoryview:
    """`size` bytes of the buffer that was used longest ago, which grows when it is too small."""
    buffers.rotate()
    if len(buffers[0]) < size:
        buffers[0] = bytearray(size)
    return memoryview(buffers[0])[:size]


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
