"""Trainer callbacks: a line of progress on a terminal, and metrics.jsonl for everyone."""

import json
import sys
import time
from pathlib import Path

from transformers import TrainerCallback

from threetoe.quiet import clear_line
from threetoe.run import METRICS


class Progress(TrainerCallback):
    """One line that is rewritten at every step; nothing when standard error is no terminal."""

    def on_train_begin(self, args, state, control, **kwargs):
        self.began = time.monotonic()
        self.measured = ""  # the validation loss, once it is known
        self.batches = 0  # of validation rows, since the last loss

    def on_log(self, args, state, control, logs=None, **kwargs):
        if "eval_loss" in (logs or {}):
            self.measured, self.batches = f"  validation {logs['eval_loss']:.4f}", 0
        if "loss" in (logs or {}):
            spent = time.monotonic() - self.began
            left = spent / max(state.global_step, 1) * (state.max_steps - state.global_step)
            self.show(state, f"loss {float(logs['loss']):.4f}{self.measured}  {clock(left)} left")

    def on_prediction_step(self, args, state, control, **kwargs):
        self.batches += 1
        self.show(state, f"measuring the validation loss, batch {self.batches}")

    def show(self, state, words: str) -> None:
        if sys.stderr.isatty():
            filled = 24 * state.global_step // state.max_steps
            bar = "━" * filled + "─" * (24 - filled)
            sys.stderr.write(f"\r\033[K{bar} step {state.global_step}/{state.max_steps}  {words}")
            sys.stderr.flush()

    def on_train_end(self, args, state, control, **kwargs):
        clear_line()


class MetricsFile(TrainerCallback):
    """Every log entry as a line of metrics.jsonl in the run folder."""

    def on_log(self, args, state, control, logs=None, **kwargs):
        entry = {"step": state.global_step, **(logs or {})}
        with Path(args.output_dir, METRICS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")


def clock(seconds: float) -> str:
    """90 -> '1:30', 3700 -> '1:01:40'"""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
