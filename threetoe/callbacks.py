"""Trainer callbacks of plugins: guarded, timed, and heard above the line of progress."""

import sys
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO

from transformers import TrainerCallback, TrainerControl

from threetoe.answers import kind
from threetoe.hooks import PASSED_OVER, Hooks
from threetoe.plugin import place_of
from threetoe.quiet import clear_line

EVENTS = [name for name in vars(TrainerCallback) if name.startswith("on_")]
WITHIN_STEP = [  # the trainer counts a step when it is done
    "on_step_begin", "on_substep_end", "on_pre_optimizer_step", "on_optimizer_step",
]  # fmt: skip
WITHOUT_STEP = ["on_init_end", "on_train_begin", "on_train_end"]


def guarded_callbacks(hooks: Hooks) -> dict[str, TrainerCallback]:
    """The callbacks by name; an exception in a plugin's names plugin, callback, event and line."""
    owned = hooks.owned("register_callbacks")
    for name, (callback, plugin) in owned.items():
        if not plugin.is_builtin:
            for event in EVENTS:
                guard(callback, event, name, plugin, hooks)
    return {name: callback for name, (callback, _) in owned.items()}


def guard(callback, event: str, name: str, plugin, hooks: Hooks) -> None:
    """Put a guard before one event of a callback; what it does not handle stays as it is."""
    function, what = getattr(callback, event), f"the callback '{name}', {event}"
    if getattr(function, "__func__", None) is getattr(TrainerCallback, event):
        return
    terminal = sys.stdout  # while training, it is hidden

    def guarded(args, state, control, **more):
        step = state.global_step + (event in WITHIN_STEP)
        at = f" at step {step}" if step and event not in WITHOUT_STEP else ""
        with heard(terminal):
            answer = hooks.guarded_call(plugin, what, function, args, state, control, at=at, **more)
        if answer is None or isinstance(answer, TrainerControl):
            return answer
        if answer is not PASSED_OVER:
            said = f"{plugin}: {what}{at} returned {kind(answer)}; return the control, or nothing"
            hooks.report(plugin, what, f"{said}. ({place_of(function)})")
        return None

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
