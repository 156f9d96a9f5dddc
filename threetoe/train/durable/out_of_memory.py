"""When memory runs out, an optimizer step is done again in smaller micro-batches, and so is every
later one: the same rows, the same number of learned tokens to divide by, so the same gradients."""

import gc
from collections.abc import Callable, Iterator

import torch

from threetoe.errors import Failure
from threetoe.machine import processes
from threetoe.machine.terminal import say

PACKED = "packed_seq_lengths"  # of a batch whose rows stand in one


class MicroBatches:
    """Cuts the batches of a trainer into `parts`, which double when memory runs out."""

    def __init__(self):
        self.parts = 1
        self.begin()

    def begin(self) -> None:
        """A new optimizer step."""
        self.batches: list[dict] = []  # that have been seen
        self.losses: list = []  # of each

    def learn(self, train_one: Callable, model, batch: dict, count, step: int):
        """The loss of a batch, whose gradients are added; `train_one(model, batch, count)` is the
        trainer's own. Failure when a single row is too much."""
        self.batches.append(batch)
        todo = [batch]
        while True:
            try:
                for one in todo:
                    loss = sum(train_one(model, part, count) for part in cut(one, self.parts))
                self.losses.append(loss)
                return loss
            except torch.OutOfMemoryError as error:
                self.cut_smaller(batch, step, error)
            # What the step had added is incomplete: all of it again.
            model.zero_grad()
            free_memory()
            todo = self.batches

    def cut_smaller(self, batch: dict, step: int, error: Exception) -> None:
        rows = len(batch["input_ids"])
        if processes.count() > 1:
            raise Failure(
                f"Out of memory in training at step {step}, and several processes cut no batches: "
                "start anew with half of --per-device-train-batch-size and twice "
                "--gradient-accumulation-steps."
            ) from error
        if PACKED in batch or self.parts >= rows:
            raise out_of_memory("training", step) from error
        self.parts *= 2
        say(
            f"out of memory at step {step}: {-(-rows // self.parts)} rows now pass at a time; the "
            f"{rows} rows of a batch still make one step"
        )


def cut(batch: dict, parts: int) -> Iterator[dict]:
    """A batch in so many parts, each as wide as its longest row."""
    rows = len(batch["input_ids"])
    if parts == 1:
        yield dict(batch)
        return
    size = max(1, -(-rows // parts))
    for start in range(0, rows, size):
        part = {name: values[start : start + size] for name, values in batch.items()}
        width = int(part["attention_mask"].sum(dim=1).max())
        yield {name: values[:, :width] for name, values in part.items()}


def free_memory() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def out_of_memory(work: str, step: int) -> Failure:
    """The Failure that names what takes less memory."""
    return Failure(
        f"Out of memory in {work} at step {step}, with one row at a time. Shorter rows "
        "(--max-seq-length), a lower --lora-r, --use-gradient-checkpointing unsloth or a smaller "
        "--model take less; the same command continues from the last checkpoint."
    )
