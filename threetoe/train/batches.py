"""Prepared rows as a Dataset, in an order that puts similar lengths together, and in packs."""

from bisect import bisect_left, insort
from collections.abc import Callable
from tempfile import TemporaryDirectory

COLUMNS = ["input_ids", "labels"]  # what a batch is made of; length is for the order alone
STEPS_SORTED = 50  # as many as transformers sorts together: enough, and every epoch is another
PACKED_AT_ONCE = 1000  # rows that are in memory together


def lengths_of(rows):
    """The column length of a Dataset as a numpy array."""
    return rows.with_format("numpy", columns=["length"])[:]["length"]


def by_length(lengths, size: int, random) -> list[int]:
    """Row indices in a random order of steps of `size` rows, each of similar lengths and sorted.

    The step with the longest row comes first, so that a lack of memory shows at once. `lengths` is
    a numpy array, `random` a numpy Generator.
    """
    steps_sorted = max(1, min(len(lengths) // (4 * size), STEPS_SORTED))
    shuffled, steps = random.permutation(len(lengths)), []
    for start in range(0, len(lengths), size * steps_sorted):
        group = shuffled[start : start + size * steps_sorted]
        group = group[(-lengths[group]).argsort(kind="stable")]
        steps += [group[at : at + size] for at in range(0, len(group), size)]
    rest = [] if len(lengths) % size == 0 else [steps.pop()]  # before others it would shift them
    random.shuffle(steps)
    if steps:
        steps.insert(0, steps.pop(max(range(len(steps)), key=lambda at: lengths[steps[at][0]])))
    return [row for step in steps + rest for row in step.tolist()]


def shuffled(lengths, size: int, random) -> list[int]:
    """Row indices in a random order; what packs are trained in."""
    return random.permutation(len(lengths)).tolist()


class InOrder:
    """A sampler: `order(lengths, size, random)` anew in every epoch, from seed and epoch alone, so
    that a process that continues a training in a later epoch sees the order of that epoch."""

    def __init__(self, order: Callable, lengths, size: int, seed: int):
        self.order, self.lengths, self.size, self.seed, self.epoch = order, lengths, size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self):
        from numpy.random import default_rng

        return iter(self.order(self.lengths, self.size, default_rng([self.seed, self.epoch])))


def packed(rows, room: int):
    """Rows put together best-fit, as TRL does it, in packs of at most `room` tokens; a column
    seq_lengths says where each row ends. On disk, in a file that is gone with the process."""
    from datasets.utils.logging import disable_progress_bar
    from trl import pack_dataset

    disable_progress_bar()
    with TemporaryDirectory() as scratch:  # what is mapped stays readable when its name is gone
        options = {"batch_size": PACKED_AT_ONCE, "cache_file_name": f"{scratch}/packed.arrow"}
        return pack_dataset(rows.select_columns(COLUMNS), room, map_kwargs=options)


def packs_of(lengths: list[int], room: int) -> int:
    """How many packs of at most `room` tokens `packed` makes of rows of these lengths."""
    packs = 0
    for start in range(0, len(lengths), PACKED_AT_ONCE):
        left = []  # what is free in the packs that were begun, sorted
        for length in sorted(lengths[start : start + PACKED_AT_ONCE], reverse=True):
            best = bisect_left(left, length)
            packs += best == len(left)
            rest = (left.pop(best) if best < len(left) else room) - length
            if rest:
                insort(left, rest)
    return packs


def collator(tokenizer, room: int):
    """Rows of at most `room` tokens become a batch padded to its longest row; what is padding is
    known by place, so an EOS stays learned where it is the pad token too.

    Never wider than `room`: there Unsloth cuts the ids on a GPU, and not the labels.
    """
    from transformers import DataCollatorForSeq2Seq

    return DataCollatorForSeq2Seq(tokenizer, pad_to_multiple_of=8 if room % 8 == 0 else None)
