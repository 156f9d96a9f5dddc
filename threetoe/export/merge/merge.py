"""A streaming LoRA merge: base shards and an adapter in, merged shards or tensors out; no model.

Every tensor passes through in pieces of a MB, summed in fp32 and rounded once. `check_merge`
says beforehand, from headers alone, whether all of it can be merged; `merge` writes a checkpoint;
`merged_tensors` gives each tensor to whoever writes something else.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from threetoe.backend.checkpoint import FLOATS, Stored, numbers
from threetoe.errors import unknown
from threetoe.export.merge.adapter import check_merge
from threetoe.export.merge.changes import Change, grown_heights
from threetoe.export.merge.nf4 import Packed
from threetoe.export.merge.options import MergeOptions
from threetoe.export.merge.rounding import Chance
from threetoe.export.merge.shards import (
    begin,
    inputs_of,
    keep_whole,
    lay_out,
    output_of,
    write_index,
)
from threetoe.export.merge.tensors import merge_tensor
from threetoe.export.merge.writer import write_shards

__all__ = ["check_merge", "merge", "merged_tensors", "plan_merge"]
DEFAULTS = MergeOptions()


class Merge(NamedTuple):
    """A merge whose parts fit: pairs (source, output) in the base's order, changes by name."""

    pairs: list[tuple[Stored, Stored]]
    changes: dict[str, Change]
    heights: dict[str, int]  # rows of embeddings whose number of rows changes
    split: bool  # the base ties its embeddings, the result does not
    options: MergeOptions

    @property
    def outputs(self) -> list[Stored]:
        """Name, dtype and shape of every tensor that comes out, in order; their places are not
        known yet."""
        return [output for _, output in self.pairs]

    def chance(self, name: str) -> Chance | None:
        """What rounds a changed tensor by chance to a type that is made of its blocks; None where
        rounding is to the nearest: asked, or of a base in 16 bits. Of one in 4 bits the nearest
        gives its own levels back; others lie anywhere between two, and chance blurs them all."""
        source, output = next(pair for pair in self.pairs if pair[1].name == name)
        in_4bit = isinstance(source, Packed) or self.options.as_used(source.name)
        if self.options.rounding == "nearest" or name not in self.changes or not in_4bit:
            return None
        return Chance(f"{name} blocks", output.shape)

    def pieces(self, source: Stored, output: Stored) -> Iterator[memoryview]:
        """The bytes of an output in order, in whole rows; a piece holds until the next."""
        change = self.changes.get(source.name, Change())
        return merge_tensor(source, output, change, self.options)


def plan_merge(base: Path, adapter: Path, options: MergeOptions = DEFAULTS) -> Merge:
    """What merge() would do, from headers alone; UserError for whatever does not fit.

    Weights that the base stores in 4 bits are expanded.
    """
    dtype = options.dtype
    codes = {name: code for code, name in FLOATS.items()}
    if dtype is not None and dtype not in codes:
        raise unknown("dtype", dtype, codes)
    tensors, changes, split = check_merge(base, adapter)
    heights = grown_heights(tensors, changes)
    pairs = [(tensor, output_of(tensor, codes.get(dtype), heights)) for tensor in tensors]
    return Merge(pairs, changes, heights, split, options)


def merged_tensors(plan: Merge, names=None) -> Iterator[tuple[Stored, Iterator]]:
    """Pairs of an output and an iterator over its blocks of whole rows, in the base's order.

    A block is a torch tensor of the output's dtype (that asked of plan_merge) and shape but for
    its fewer rows, and holds only until the next one is asked for: torch.cat of copies gives the
    tensor. `names` leaves only those outputs. UserError for a result that is not finite.
    """
    with one_thread():
        for source, output in plan.pairs:
            if names is None or output.name in names:
                yield output, blocks(plan, source, output)


def blocks(plan: Merge, source: Stored, output: Stored) -> Iterator:
    for piece in plan.pieces(source, output):
        yield numbers(piece, output).view(-1, *output.shape[1:])


def merge(base: Path, adapter: Path, target: Path, options: MergeOptions = DEFAULTS) -> dict:
    """Writes base + adapter as safetensors into the folder `target`; weights and index only.

    Returns tensors, merged (how many of them the adapter changed), bytes, dtype (that of most
    bytes), vocab_size (None where it stays) and split (tied embeddings became two matrices).
    Raises UserError before writing for whatever does not fit, and while writing for a result that
    is not finite; OSError when writing fails. Each shard bears its name only when whole and on the
    disk. Stopped at any point, the same call goes on at its next shard, and another one starts
    anew: merge_plan.PLAN in the folder says what it was; whoever gives the folder its name takes
    that file out.
    """
    plan = plan_merge(base, adapter, options)
    shards = lay_out(plan.pairs, target, options.max_shard_size)
    files = [pairs[0][1].file.name for pairs in shards]
    begin(target, files, inputs_of(base, adapter, options))
    for pairs in shards:
        keep_whole([output for _, output in pairs])
    with one_thread():
        write_shards(shards, plan.pieces, options.progress)
    write_index(target, [output for pairs in shards for _, output in pairs])
    return facts_of(plan)


def facts_of(plan: Merge) -> dict:
    sizes: dict[str, int] = {}
    for output in plan.outputs:
        sizes[output.dtype] = sizes.get(output.dtype, 0) + output.size
    most = max(sizes, key=sizes.__getitem__)
    return {
        "tensors": len(plan.pairs),
        "merged": len(plan.changes),
        "bytes": sum(sizes.values()),
        "dtype": FLOATS.get(most, most),
        "vocab_size": max(plan.heights.values(), default=None),
        "split": plan.split,
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
