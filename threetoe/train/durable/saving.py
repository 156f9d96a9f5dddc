"""When a training is saved, and how one that was killed goes on."""

import signal
import threading
import time
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace

from transformers import TrainerCallback

from threetoe.errors import Failure, Stopped
from threetoe.machine import processes
from threetoe.machine.terminal import say
from threetoe.train.durable import checkpoint
from threetoe.train.durable.checkpoint import Checkpoint, writing
from threetoe.train.durable.contents import STATE, copy_logs, fill, load_trained
from threetoe.train.durable.mirror import Mirror
from threetoe.train.durable.moment import Moment, put_states, random_states
from threetoe.train.watch.finite import NotFinite

SECONDS, AT_LEAST = 120, 4  # between two checkpoints; parts of a run, so three before its end
COST = 0.02  # of a long training's time, at most


class Saving(TrainerCallback):
    """Decides when a checkpoint is written, and ends the training after the step in which the
    process was asked to stop."""

    def __init__(self, run: Path, facts: dict, config, callbacks: dict, failures: list):
        self.run, self.facts = run, facts
        self.every, self.limit = config.save_steps, config.save_total_limit
        self.callbacks = callbacks  # by name; those with a state are saved too
        self.failures = failures  # of them, after a step was done
        self.before: Moment | None = None  # the step that is under way, until weights change
        self.resumed: Checkpoint | None = None  # what this process continues
        mirrored = config.mirror and processes.is_first()
        self.mirror = Mirror(config.mirror, run, self.limit) if mirrored else None
        self.asked: int | None = None  # the signal that asked to stop
        self.began = self.saved = time.monotonic()
        self.took = 0.0  # seconds, the last checkpoint

    def take(self, trainer, resumed: Checkpoint | None) -> None:
        """Save this trainer from now on, and begin where the checkpoint is. One that a plugin made
        without build_trainer knows no checkpoints, which is said."""
        if not hasattr(trainer, "saving"):
            say("a plugin's own trainer saves no checkpoints: if it is killed, it begins anew")
            resumed = None
        else:
            trainer.saving = self
            trainer.add_callback(self)
            self.callbacks["finite"].trainer = trainer
            trainer.answers = self.callbacks.get("answers")
        self.resumed, self.trainer = resumed, trainer
        steps = processes.gather(resumed.step if resumed else 0)
        if len(set(steps)) > 1:
            raise Failure(
                f"Of {len(steps)} processes some find another checkpoint than the first: their "
                f"machines have to share the drive of {self.run}."
            )
        if not processes.is_first():
            return
        if resumed:
            copy_logs(resumed.folder, self.run)
        else:
            checkpoint.prune(self.run, 0)

    @property
    def seconds(self) -> float:
        """Of training, those of the processes before this one included."""
        before = self.resumed.facts["seconds"] if self.resumed else 0
        return before + time.monotonic() - self.began

    def figures(self) -> dict:
        """What run.json says: over how many processes steps were spread; where memory ran out, into
        how many parts each batch was cut; after which step another process continued; and what
        callbacks say."""
        parts = self.trainer.micro_batches.parts if hasattr(self.trainer, "saving") else 1
        cut = {"parts_of_a_batch": parts, "processes": processes.count()}
        cut = {name: count for name, count in cut.items() if count > 1}
        cut |= {"continued_at": self.resumed.step} if self.resumed else {}
        for callback in self.ours("figures"):
            cut |= callback.figures()
        return cut

    def ours(self, method: str) -> list[TrainerCallback]:
        """Of the callbacks those with something of their own to keep or to say."""
        named = (self.callbacks.get(name) for name in ("hours", "best"))
        return [callback for callback in named if hasattr(callback, method)]

    def begin_step(self, trainer) -> None:
        self.before = Moment.now(trainer, self.callbacks)

    def on_pre_optimizer_step(self, args, state, control, **kwargs):
        self.before = None

    def on_step_end(self, args, state, control, **kwargs):
        due = self.is_due(state.global_step, state.max_steps)
        told = processes.gather((self.asked or 0, control.should_training_stop, due))
        asked, stops, _ = map(max, zip(*told, strict=True))  # signals come at different times
        self.asked, due = asked or None, told[0][2]  # by the clock of the one that writes
        control.should_training_stop = bool(stops or asked)
        control.should_save = control.should_training_stop or due
        control.should_log |= control.should_save  # or the sum of losses would lack some

    def is_due(self, step: int, total: int) -> bool:
        if step == total:
            return True
        if self.every:
            return step % self.every == 0
        parts = {total * part // AT_LEAST for part in range(1, AT_LEAST)}
        return step in parts or time.monotonic() - self.saved > max(SECONDS, self.took / COST)

    def save(self, trainer, stood: Moment | None = None) -> None:
        """A checkpoint of this step; Failure where it cannot be written, the ones before stay."""
        began, stood = time.monotonic(), stood or Moment.now(trainer, self.callbacks)
        step, states = trainer.state.global_step, random_states(trainer)
        if not processes.is_first():
            return
        stands = {
            "seconds": self.seconds,
            "sums": stood.sums,
            "total": trainer.state.max_steps,
            "parts": trainer.micro_batches.parts,
            "callbacks": stood.callbacks,
        }
        filled = partial(fill, trainer, self.run, states, self.ours("keep_files"))
        with writing(f"The checkpoint of step {step}", self.run):
            written = checkpoint.write(self.run, step, self.facts | stands, filled)
        if self.mirror:
            self.mirror.copy(written)
        checkpoint.prune(self.run, self.limit)
        self.saved = time.monotonic()
        self.took = self.saved - began

    def train(self, trainer):
        """What trainer.train() returns; from the checkpoint on, where there is one."""
        try:
            with step_finished_first(self):
                result = self.go_on(trainer)
            if self.failures:
                raise self.failures[0]
        except NotFinite:
            raise  # what was before it may be on the way there: the last checkpoint stays
        except Exception:
            self.save_before(trainer)
            if kept := checkpoint.found_in(self.run):
                say(f"what was trained until {kept[0].name} stays: the same command continues")
            raise
        finally:
            if self.mirror and (kept := checkpoint.found_in(self.run)):
                self.mirror.finish(kept[0])
        if self.asked and result.global_step < trainer.state.max_steps:
            raise Stopped(
                f"Stopped after step {result.global_step} of {trainer.state.max_steps}, and saved: "
                "the same command continues.",
                128 + self.asked,
            )
        return result

    def save_before(self, trainer) -> None:
        """The checkpoint of the last whole step, where the one after it failed before it changed
        weights. Several processes save none: they cannot meet any more."""
        if self.before is None or self.before.step == 0 or processes.count() > 1:
            return
        with suppress(Failure, RuntimeError):  # what failed first is what is told
            self.before.restore(trainer)
            self.save(trainer, self.before)

    def go_on(self, trainer):
        found = self.resumed
        if found is None:
            return trainer.train()
        trainer.micro_batches.parts = found.facts["parts"]
        put_states(self.callbacks, found.facts["callbacks"])
        for callback in self.ours("load_files"):
            callback.load_files(found.folder)
        if found.step >= found.facts["total"]:  # killed before the run was saved
            return finished(trainer, found)
        trainer.args.eval_on_start = False  # it was measured
        return trainer.train(resume_from_checkpoint=str(found.folder))

    def on_train_begin(self, args, state, control, **kwargs):
        if self.resumed:  # transformers and TRL begin them anew
            vars(self.trainer).update(self.resumed.facts["sums"])


def finished(trainer, found: Checkpoint):
    """What training returned before the process was ended, with the model as it was; callbacks are
    told as they would have been, and metrics.jsonl gets its last line."""
    load_trained(trainer.model, found.folder)
    state = trainer.state = type(trainer.state).load_from_json(str(found.folder / STATE))
    loss = found.facts["sums"]["_total_loss_scalar"] / found.step
    tell, told = trainer.callback_handler, (trainer.args, state, trainer.control)
    tell.on_train_begin(*told)
    trainer.log({"total_flos": state.total_flos, "train_loss": loss})
    tell.on_train_end(*told)
    return SimpleNamespace(global_step=found.step, training_loss=loss, metrics={})


@contextmanager
def step_finished_first(saving: Saving):
    """SIGINT and SIGTERM end the training when its step is done and saved; a second one at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number, frame):
        saving.asked = number
        signal.signal(number, before[number])
        say("stopping when this step is done and saved; once more stops at once")

    asking = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in asking}
    for number in asking:
        if before[number] is not signal.SIG_IGN:
            signal.signal(number, ask)
    try:
        yield
    finally:
        for number in asking:
            signal.signal(number, before[number])
