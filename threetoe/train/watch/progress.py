"""The line of progress: how far, how the loss goes, how long yet, how fast."""

import sys
import time
from array import array
from collections import deque
from collections.abc import Sequence

from transformers import TrainerCallback

from threetoe.machine.libraries import has_gpu
from threetoe.machine.space import peak_memory
from threetoe.machine.terminal import (
    Progress,
    clear_line,
    clock,
    columns,
    draw_bar,
    say,
    shown,
    width_of,
)
from threetoe.run.losses import sparkline
from threetoe.train.watch.pace import LATEST, Pace

CELLS = 6
SHORTEST = 6  # columns of a bar and its gap


class StepsDone(TrainerCallback):
    """One line that is rewritten at every step; where standard error is no terminal, a line for
    the first step, for each tenth of the way, and now and then."""

    def on_train_begin(self, args, state, control, **kwargs):
        self.progress, self.pace = Progress(patience=0), Pace(time.monotonic())
        self.losses = array("d", (e["loss"] for e in state.log_history if "loss" in e))
        self.tokens = deque(maxlen=LATEST)  # (step, tokens that were trained until then)
        self.logs, self.measured = {}, ""  # the latest; the validation loss, once it is known
        self.batches = 0  # of validation rows, since the last loss
        if has_gpu():
            say("the first step compiles kernels, which may take minutes")

    def on_step_begin(self, args, state, control, **kwargs):
        self.pace.begin(time.monotonic())

    def on_optimizer_step(self, args, state, control, **kwargs):
        self.pace.end(time.monotonic())

    def on_step_end(self, args, state, control, **kwargs):
        if self.logs and not control.should_log:  # or else there is a new loss in a moment
            self.show(state)

    def on_log(self, args, state, control, logs=None, **kwargs):
        if "eval_loss" in logs:
            self.measured, self.batches = f"val {logs['eval_loss']:.3f}", 0
        if "loss" in logs:
            self.logs = logs
            self.losses.append(logs["loss"])
            if "num_tokens" in logs:  # TRL's
                self.tokens.append((state.global_step, logs["num_tokens"]))
            self.show(state)

    def show(self, state) -> None:
        parts = self.parts(state)
        if sys.stderr.isatty():
            draw_bar(state.global_step / state.max_steps, fitting(parts, columns() - SHORTEST))
        elif self.progress.is_due(state.global_step, state.max_steps):
            say(f"step {'  '.join(parts)}")

    def parts(self, state) -> list[str]:
        """What is said, the most wanted first."""
        step, last = state.global_step, state.max_steps
        parts = [f"{str(step).rjust(len(str(last)))}/{last}"]
        parts += [f"loss {self.losses[-1]:.4f} {course(self.losses)}".rstrip(), self.measured]
        if self.pace.done:
            parts.append(f"{clock((last - step) * self.pace.whole)} left")
        if len(self.tokens) > 1:
            (first, before), (latest, now) = self.tokens[0], self.tokens[-1]
            speed = (now - before) / (latest - first) / self.pace.step
            parts.append(f"{speed:,.0f} tok/s")
        if "learning_rate" in self.logs:
            parts.append(f"lr {self.logs['learning_rate']:.1e}".replace("e-0", "e-"))
        return [part for part in (*parts, shown(peak_memory())) if part]

    def on_prediction_step(self, args, state, control, **kwargs):
        self.batches += 1
        share = state.global_step / state.max_steps
        draw_bar(share, f"measuring the validation loss, batch {self.batches}")

    def on_train_end(self, args, state, control, **kwargs):
        clear_line()


def course(losses: Sequence[float]) -> str:
    """How they went, in a few letters; "" where standard error cannot have them."""
    utf = str(sys.stderr.encoding).lower().startswith("utf")
    return sparkline(losses, CELLS) if utf and len(losses) > 1 else ""


def fitting(parts: list[str], room: int) -> str:
    """As many of the first parts as there is room for; two at least."""
    while len(parts) > 2 and width_of("  ".join(parts)) > room:
        parts = parts[:-1]
    return "  ".join(parts)
