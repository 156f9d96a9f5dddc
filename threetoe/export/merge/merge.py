"""A streaming LoRA merge: base shards and an adapter in, merged shards or tensors out; no model.

Every tensor passes through in pieces of a MB, summed in fp32 and rounded once. `plan_merge` says
beforehand, from headers alone, whether all of it can be merged; `merge` writes a checkpoint;
`Merge.blocks` gives each tensor to whoever writes something else.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from threetoe.backend.checkpoint import FLOATS, Stored, numbers
from threetoe.errors import unknown
from threetoe.export.merge.adapter import check_merge
from threetoe.export.merge.changes import Change
from threetoe.export.merge.nf4 import CODES, Packed
from threetoe.export.merge.options import MergeOptions
from threetoe.export.merge.rounding import Chance
from threetoe.export.merge.shards import UNCHANGED, begin, inputs_of, lay_out, output_of
from threetoe.export.merge.tensors import merge_tensor
from threetoe.export.merge.writer import Shard, write_shards

DEFAULTS = MergeOptions()


class Merge(NamedTuple):
    """A merge whose parts fit, and what comes out of it."""

    sources: dict[str, Stored]  # the base's tensors by name
    outputs: list[Stored]  # in the base's order; their places are not known yet
    changes: dict[str, Change]  # by name
    split: bool  # the base ties its embeddings, the result does not
    options: MergeOptions

    def pieces(self, output: Stored) -> Iterator[memoryview]:
        """The bytes of an output in order, in whole rows; a piece holds until the next. UserError
        for a result that is not finite."""
        source, change = self.sources[output.name], self.changes.get(output.name, UNCHANGED)
        return merge_tensor(source, output, change, self.options)

    def blocks(self, output: Stored) -> Iterator:
        """The same as torch tensors of the output's dtype, and of its shape but for fewer rows."""
        for piece in self.pieces(output):
            yield numbers(piece, output).view(-1, *output.shape[1:])

    def blocks_by_chance(self, output: Stored, move: Callable) -> Iterator:
        """The same for a coarser type that is made of blocks: move(block, noise) puts their numbers
        by chance where this type has some.

        Rounding stays to the nearest where it is asked, and of a base in 16 bits. Of one in 4 bits
        the nearest gives its own levels back; others lie anywhere between two, and chance blurs
        them all.
        """
        name, first = output.name, 0
        in_4bit = isinstance(self.sources[name], Packed) or self.options.as_used(name)
        nearest = self.options.rounding == "nearest" or name not in self.changes or not in_4bit
        chance = None if nearest else Chance(f"{name} blocks", output.shape)
        for block in self.blocks(output):
            rows = slice(first, first + len(block))
            yield move(block, chance.noise(rows)) if chance else block
            first = rows.stop


def plan_merge(base: Path, adapter: Path, options: MergeOptions = DEFAULTS) -> Merge:
    """What merge() would do, from headers alone; UserError for whatever does not fit.

    Weights that the base stores in 4 bits are expanded.
    """
    if options.dtype not in (None, *CODES):
        raise unknown("dtype", options.dtype, CODES)
    tensors, changes, split = check_merge(base, adapter)
    code = CODES.get(options.dtype)
    outputs = [output_of(one, code, changes.get(one.name, UNCHANGED)) for one in tensors]
    return Merge({one.name: one for one in tensors}, outputs, changes, split, options)


def merge(base: Path, adapter: Path, target: Path, options: MergeOptions = DEFAULTS) -> dict:
    """Writes base + adapter as safetensors into the folder `target`; weights and index only.

    Returns tensors, merged (how many of them the adapter changed), bytes, dtype (that of most
    bytes), vocab_size (None where it stays) and split (tied embeddings became two matrices).
    Raises UserError before writing for whatever does not fit, and while writing for a result that
    is not finite; OSError when writing fails. Each shard bears its name only when whole and on the
    disk. Stopped at any point, the same call goes on at its next shard, and another one starts
    anew: shards.PLAN in the folder says what it was; whoever gives the folder its name takes
    that file out.
    """
    plan = plan_merge(base, adapter, options)
    shards = lay_out(plan.outputs, target, options.max_shard_size)
    begin(shards, inputs_of(base, adapter, options))

    def put(shard: Shard, output: Stored) -> None:
        shard.put(output.name, output.dtype, output.shape, plan.pieces(output))

    with one_thread():
        write_shards(shards, put, options.progress)
    return facts_of(plan)


def facts_of(plan: Merge) -> dict:
    sizes: Counter[str] = Counter()
    for output in plan.outputs:
        sizes[output.dtype] += output.size
    ((most, _),) = sizes.most_common(1)
    grown = [one.shape for one in plan.outputs if one.shape != plan.sources[one.name].shape]
    return {
        "tensors": len(plan.outputs),
        "merged": len(plan.changes),
        "bytes": sizes.total(),
        "dtype": FLOATS.get(most, most),
        "vocab_size": max((shape[0] for shape in grown), default=None),
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
