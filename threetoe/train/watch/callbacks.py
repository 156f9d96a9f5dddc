"""Trainer callbacks of plugins: guarded, timed, and heard above the line of progress."""

import json
import math
import signal
import sys
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

from transformers import TrainerCallback, TrainerControl

from threetoe.errors import PluginError
from threetoe.hooks.answers import kind
from threetoe.hooks.calls import Hooks
from threetoe.machine import processes
from threetoe.machine.terminal import clear_line
from threetoe.run.record import METRICS

EVENTS = [name for name in vars(TrainerCallback) if name.startswith("on_")]
WITHIN_STEP = [  # the trainer counts a step when it is done
    "on_step_begin", "on_substep_end", "on_pre_optimizer_step", "on_optimizer_step",
]  # fmt: skip
WEIGHTS_CHANGED = """
    on_optimizer_step on_step_end on_log on_prediction_step on_evaluate on_save on_epoch_end
""".split()
WITHOUT_STEP = ["on_init_end", "on_train_begin", "on_train_end"]


def guarded_callbacks(
    hooks: Hooks, config, rows=None, prompting=None
) -> tuple[dict[str, TrainerCallback], list]:
    """The callbacks by name; an exception in a plugin's names plugin, callback, event and line. And
    a list, which gets those of events after the weights have changed: the step is finished, logged
    and saved, and then the training ends. Ours are given the rows."""
    failures: list[PluginError] = []
    owned = hooks.owned("register_callbacks", config=config)
    for name, (callback, plugin) in owned.items():
        if not plugin.is_builtin:
            for event in EVENTS:
                guard(callback, event, name, plugin, failures)
        elif hasattr(callback, "take"):
            callback.take(hooks, rows, prompting)
    return {name: callback for name, (callback, _) in owned.items()}, failures


def guard(callback, event: str, name: str, plugin, failures: list) -> None:
    """Put a guard before one event of a callback; what it does not handle stays as it is."""
    function, what = getattr(callback, event), f"the callback '{name}', {event}"
    if getattr(function, "__func__", None) is getattr(TrainerCallback, event):
        return
    terminal = sys.stdout  # while training, it is hidden

    def guarded(args, state, control, **more):
        step = state.global_step + (event in WITHIN_STEP)
        at = f" at step {step}" if step and event not in WITHOUT_STEP else ""
        if failures:
            return control
        try:
            with heard(terminal):
                answer = plugin.call(what + at, function, args, state, control, **more)
            if answer is None or isinstance(answer, TrainerControl):
                return answer
            fault = f"returned {kind(answer)}; return the control, or nothing"
            raise plugin.refuse(what + at, fault, function)
        except PluginError as error:
            if event not in WEIGHTS_CHANGED or processes.count() > 1:
                raise
            failures.append(error)
            control.should_save = control.should_training_stop = True
            return control

    setattr(callback, event, guarded)  # and no object around it: trainers ask for its class


@contextmanager
def heard(terminal):
    """What is printed reaches the terminal, whole and above the line of progress."""
    said, warned = StringIO(), StringIO()
    try:
        with redirect_stdout(said), redirect_stderr(warned):
            yield
    finally:
        for text, stream in ((said.getvalue(), terminal), (warned.getvalue(), sys.stderr)):
            if text:
                clear_line()
                stream.write(text if text.endswith("\n") else text + "\n")
                stream.flush()


class MetricsFile(TrainerCallback):
    """Every log entry as a line of metrics.jsonl in the run folder."""

    def on_log(self, args, state, control, logs=None, **kwargs):
        entry = {"step": state.global_step, **(logs or {})}
        entry = {k: None if is_infinite(v) else v for k, v in entry.items()}  # JSON has no NaN
        with Path(args.output_dir, METRICS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")


class Interruption(TrainerCallback):
    """Sends SIGTERM after the second step, as a session's end does."""

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 2:
            signal.raise_signal(signal.SIGTERM)


def is_infinite(value) -> bool:
    """Whether a value is NaN or infinite, as gradients are in fp16's first steps."""
    return isinstance(value, float) and not math.isfinite(value)
