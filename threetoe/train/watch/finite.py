"""A loss or a gradient that is no number ends the training before it changes a weight."""

import math
from itertools import pairwise
from pathlib import Path

import torch
from transformers import TrainerCallback

from threetoe.errors import Failure
from threetoe.train.durable.checkpoint import found_in
from threetoe.train.row_sets import RowSets, places
from threetoe.train.watch.callbacks import is_infinite

ROWS_AT_ONCE, SHOWN = 10_000, 16


class NotFinite(Failure):
    """The step that was not taken, its rows, and what to try."""


class Finite(TrainerCallback):
    """Looks at the losses of a step, and then at its gradients; in fp16 the scaler does, which
    passes over such a step and tries a lower scale."""

    trainer = None  # a Learner, once there is a run folder

    def __init__(self, config):
        self.rate = config.learning_rate

    def take(self, hooks, rows: RowSets, prompting) -> None:
        self.rows = rows

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        if self.trainer is None:
            return
        seen, step = self.trainer.micro_batches, state.global_step + 1
        losses = torch.stack(seen.losses).tolist()
        if found := [n for n, loss in enumerate(losses) if is_infinite(loss)]:
            batches = [seen.batches[n] for n in found]
            raise self.error(f"The loss became {losses[found[0]]} at step {step}", batches, args)
        if args.fp16:
            return
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), math.inf).item()
        if is_infinite(norm):  # inf was made nan when it was clipped
            raise self.error(f"Gradients became nan at step {step}", seen.batches, args)

    def error(self, said: str, batches: list[dict], args) -> NotFinite:
        found = places_of(batches, self.rows)
        more = f" and {len(found) - SHOWN} more" * (len(found) > SHOWN)
        named = f"; its rows: {', '.join(found[:SHOWN])}{more}" * bool(found)
        kept = found_in(Path(args.output_dir))
        stays = f"{kept[0]} stays as it was. " if kept else ""
        return NotFinite(
            f"{said}, which was not taken{named}. {stays}Look at the rows, or start anew (--resume "
            f"never) with a lower --learning-rate ({self.rate:g} now) or more --warmup-steps."
        )


def places_of(batches: list[dict], rows: RowSets) -> list[str]:
    """Where the rows of batches stand; none where a plugin's trainer has changed their ids."""
    wanted = {ids for batch in batches for ids in ids_of(batch)}
    lengths, found = set(map(len, wanted)), []
    likely = [n for n in rows.trained.tolist() if int(rows.training.lengths[n]) in lengths]
    dataset = rows.training.dataset()
    for start in range(0, len(likely), ROWS_AT_ONCE):
        part = likely[start : start + ROWS_AT_ONCE]
        read = dataset.select(part)["input_ids"]
        found += [n for n, ids in zip(part, read, strict=True) if tuple(ids) in wanted]
    return list(places(rows.training, found))


def ids_of(batch: dict) -> list[tuple]:
    """The ids of each row of a batch, padded or packed."""
    ids = batch["input_ids"]
    if "attention_mask" in batch:
        pairs = zip(ids, batch["attention_mask"].bool(), strict=True)
        return [tuple(row[mask].tolist()) for row, mask in pairs]
    ends = [*(batch["position_ids"][0] == 0).nonzero().flatten().tolist(), ids.shape[1]]
    return [tuple(ids[0, a:b].tolist()) for a, b in pairwise(ends)]
