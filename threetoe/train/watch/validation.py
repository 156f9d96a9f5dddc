"""Which validation rows are measured when: all at both ends, a sample of them between."""

import math
import time
from functools import cached_property

from numpy import arange, setdiff1d
from numpy.random import default_rng
from transformers import TrainerCallback

from threetoe.machine.terminal import say
from threetoe.options.types import MOST
from threetoe.train.batches import lengths_of

EVAL_ROWS = 128  # in the sample, unless --eval-rows says otherwise
PASSES, SHARE = 9, 0.1  # passes over the sample, and their share of the training's time
FORWARD = 1 / 3  # of what a token costs in training, which goes forward and back


class Validation(TrainerCallback):
    """What a trainer's evaluate() measures."""

    def __init__(self, trainer, eval_rows: int, every: int | None):
        rows = trainer.eval_dataset
        self.trainer, self.count, self.every = trainer, len(rows), every
        self.last = 0  # step after which was measured
        self.sample, self.rest = rows, None
        if eval_rows < len(rows):
            drawn = default_rng(trainer.args.seed).choice(len(rows), eval_rows, replace=False)
            self.sample = rows.select(sorted(drawn.tolist()))
            self.rest = rows.select(setdiff1d(arange(len(rows)), drawn))

    def on_train_begin(self, args, state, control, **kwargs):
        self.last = max((e["step"] for e in state.log_history if "eval_loss" in e), default=0)
        state.eval_steps = MOST  # but after the last step: on_step_end

    def distance(self, state) -> int:
        """Steps from one to the next; --max-hours changes how many there are in all."""
        return self.every or steps_between(state.max_steps, self.passes_a_step)

    def on_step_end(self, args, state, control, **kwargs):
        control.should_evaluate |= state.global_step - self.last >= self.distance(state)
        control.should_log |= control.should_evaluate  # a training may end there, its loss told

    @cached_property
    def passes_a_step(self) -> float:
        """How many passes over the sample take the time of one step, by their tokens."""
        args, rows = self.trainer.args, self.trainer.train_dataset
        step = args.train_batch_size * args.gradient_accumulation_steps
        length = args.max_length if args.packing else lengths_of(rows).mean()
        return step * length / (lengths_of(self.sample).sum() * FORWARD)

    def measure(self) -> dict[str, float]:
        """eval_loss, in nats a learned token, of eval_rows: all rows before the first step and
        after the last, where eval_sample_loss stands beside it; between, of the sample."""
        state, began = self.trainer.state, time.monotonic()
        self.last = state.global_step
        if state.global_step == 0:
            say(f"measuring the loss of {self.count:,} validation rows before the first step")
        total, learned = self.trainer.sum_losses(self.sample)
        figures = {"eval_loss": total / learned, "eval_rows": len(self.sample)}
        if self.rest and state.global_step in (0, state.max_steps):
            more, others = self.trainer.sum_losses(self.rest)
            figures = {
                "eval_loss": (total + more) / (learned + others),
                "eval_rows": self.count,
                "eval_sample_loss": total / learned,
            }
        if state.global_step == 0 < state.max_steps:
            self.say_estimate(time.monotonic() - began, state)
        return figures

    def say_estimate(self, seconds: float, state) -> None:
        """What a whole pass has taken, and what is measured from now on."""
        passes = (state.max_steps - 1) // self.distance(state)
        whole = seconds + passes * seconds * len(self.sample) / self.count
        between = f", {len(self.sample):,} of them {passes} times between" * bool(passes)
        say(
            f"that took {seconds:.1f} s; again after the last step{between}: about {whole:.0f} s "
            "(--eval-steps, --eval-rows)"
        )


def steps_between(steps: int, passes_a_step: float) -> int:
    """The distance of measurements whose passes together take at most SHARE of the training."""
    passes = min(PASSES, int(SHARE * steps * passes_a_step))
    return math.ceil(steps / (passes + 1))
