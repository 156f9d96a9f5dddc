"""--max-hours and --finish-by: a training of as many steps as fit into a time.

How many those are is measured, and planned anew after every step. What is left of the learning
rate's schedule is spread evenly over the steps that are left, so that it comes to its end with the
last of them, however many they become.
"""

import math
import time
from datetime import UTC, datetime
from functools import partial

from torch.optim.lr_scheduler import LambdaLR
from transformers import TrainerCallback

from threetoe.machine import processes
from threetoe.machine.terminal import say
from threetoe.options.train import DEFAULT_STEPS
from threetoe.options.types import MOST
from threetoe.train.preview import MANY_EPOCHS
from threetoe.train.watch.pace import Pace

CLOSING = 6.0  # seconds, for a sample answer and the end of the process
CHANGED = 0.1  # of the planned steps: that is said


class Hours(TrainerCallback):
    """Ends a training so that it, the last validation, and what follows, are done in time."""

    def __init__(self, config, now=time.monotonic):
        self.config, self.now, self.by = config, now, math.inf
        if config.finish_by:
            left = datetime.fromisoformat(config.finish_by) - datetime.now(UTC)
            self.by = now() + left.total_seconds()
        self.spent = 0.0  # of --max-hours, by the processes before this one
        self.share = 0.0  # of the schedule behind its warm-up, that is done
        self.planned = DEFAULT_STEPS  # until a step is measured
        self.first_plan = self.said = 0  # steps
        self.validation = self.saving = 0.0  # seconds: a whole one, one

    def state(self) -> dict:
        kept = {k: vars(self)[k] for k in ("share", "planned", "first_plan", "validation")}
        return kept | {"spent": self.spent + self.now() - self.config.began}

    def load_state(self, state: dict) -> None:
        vars(self).update(state)

    def figures(self) -> dict:
        """What run.json says of it."""
        return {"steps_planned": self.first_plan}

    def seconds_left(self) -> float:
        """For steps, and for what stands between them."""
        hours = self.config.max_hours or math.inf
        ends = min(self.config.began - self.spent + 3600 * hours, self.by)
        kept = self.config.after + self.validation + 2 * self.saving + CLOSING  # run and checkpoint
        return ends - self.now() - kept

    def steps_left(self) -> int:
        """As many as fit; the last may be the slowest."""
        left = self.seconds_left() - max(self.pace.took)
        return 0 if left < 0 else 1 + int(left / self.pace.whole)

    def on_train_begin(self, args, state, control, lr_scheduler=None, **kwargs):
        self.most, self.warmup = state.max_steps, args.get_warmup_steps(state.max_steps)
        self.pace = Pace(self.now())
        state.max_steps = min(self.most, self.planned)
        if isinstance(lr_scheduler, LambdaLR):
            lr_scheduler.lr_lambdas = [partial(self.rate, one) for one in lr_scheduler.lr_lambdas]

    def rate(self, schedule, step: int) -> float:
        """What a schedule of `most` steps has where this one stands."""
        if step >= self.warmup:
            step = self.warmup + (self.most - self.warmup) * self.share
        return schedule(step)

    def on_step_begin(self, args, state, control, **kwargs):
        now = self.now()
        if state.global_step == 0:
            self.validation = now - self.pace.at  # all rows, as after the last step
        self.pace.begin(now)

    def on_optimizer_step(self, args, state, control, **kwargs):
        """Plan before the schedule and the end of the step are decided."""
        step = state.global_step + 1
        self.pace.end(self.now())
        left = processes.gather(self.steps_left())[0]  # all go by the clock of the first
        state.max_steps = self.planned = min(self.most, step + left)
        if step > self.warmup:
            self.share = 1 - (1 - self.share) * (1 - 1 / (self.planned - state.global_step))
        self.say_plan(state, step, self.pace.done)

    def say_plan(self, state, step: int, done: int) -> None:
        """Once it is known, and where it has changed much."""
        total, before = self.planned, self.said
        if step == 1 and self.seconds_left() < 0:
            say("the time is too short, even for one step; that one is saved all the same")
        if done < 3 or abs(total - before) <= CHANGED * before:
            return
        self.said, epochs = total, state.epoch / state.global_step * total
        self.first_plan = self.first_plan or total
        instead = f" instead of {before:,}" * bool(before)
        many = "; with --num-train-epochs 3 it ends after three" * (
            epochs > MANY_EPOCHS and not before
        )
        say(f"about {total:,} steps fit in time{instead}: {epochs:.1f} epochs{many}")

    def on_log(self, args, state, control, logs=None, **kwargs):
        self.logged = self.now()
        if self.most == MOST:
            (logs or {}).pop("train_samples_per_second", None)  # counts those of all of MOST steps

    def on_save(self, args, state, control, **kwargs):
        self.saving = max(self.saving, self.now() - self.logged)
