"""The best step so far: a training that gets no better ends, and the best adapter is saved."""

from pathlib import Path

from safetensors.torch import load_file, save_file
from transformers import TrainerCallback

from threetoe.errors import unknown
from threetoe.machine import processes
from threetoe.machine.terminal import say
from threetoe.train.durable.contents import put_trained, trained_of
from threetoe.train.trainer import comparable_loss

FILE = "best.safetensors"


class Best(TrainerCallback):
    """Compares what is measured, but the base before the first step. The adapter of the best step
    is in memory, and in every checkpoint, so that none of these has to be of that step."""

    def __init__(self, config):
        self.patience, self.keeps = config.early_stopping_patience, config.load_best_model_at_end
        self.metric = config.metric_for_best_model
        self.step = self.value = None
        self.worse = 0  # measurements since the best one
        self.weights = {}

    def state(self) -> dict:
        return {"step": self.step, "value": self.value, "worse": self.worse}

    def load_state(self, state: dict) -> None:
        vars(self).update(state)

    def keep_files(self, folder: Path) -> None:
        """Put what a checkpoint has to hold into its folder."""
        if self.weights:
            save_file(self.weights, folder / FILE)

    def load_files(self, folder: Path) -> None:
        if self.keeps and self.step:
            self.weights = load_file(folder / FILE)

    def figures(self) -> dict:
        """What run.json says of it."""
        return {"saved_step": self.step} if self.keeps and self.step else {}

    def on_evaluate(self, args, state, control, metrics=None, model=None, **kwargs):
        loss, named = comparable_loss(metrics), f"eval_{self.metric}"
        if self.metric != "loss" and named not in metrics:
            raise unknown("metric", self.metric, (n.removeprefix("eval_") for n in metrics))
        value = processes.gather(loss if self.metric == "loss" else -metrics[named])[0]
        if state.global_step == 0:
            return
        if self.value is None or value < self.value:
            self.step, self.value, self.worse = state.global_step, value, 0
            if self.keeps:
                self.weights = {name: p.clone() for name, p in trained_of(model).items()}
            return
        self.worse += 1
        if self.worse == self.patience and state.global_step < state.max_steps:
            say(f"no better {self.metric} since step {self.step}: the training ends")
            state.max_steps = state.global_step  # so a process that is killed now does not go on
            control.should_save = control.should_training_stop = True

    def on_train_end(self, args, state, control, model=None, **kwargs):
        if self.weights:
            put_trained(model, self.weights, f"step {self.step}")
        elif self.keeps:
            say("--load-best-model-at-end: no step was measured, so the last adapter is saved")
