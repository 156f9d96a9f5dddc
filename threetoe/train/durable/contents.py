"""What a checkpoint holds: all that the next step depends on."""

from copy import copy
from pathlib import Path
from shutil import copyfile

import torch
from safetensors.torch import load_file, save_file

from threetoe.errors import Failure
from threetoe.run.record import METRICS, SAMPLES, SCORES

TRAINED, STATE = "trained.safetensors", "trainer_state.json"


def fill(trainer, run: Path, states: dict, keeping: list, folder: Path) -> None:
    """Adapter in its own precision, optimizer, schedule, scaler, random numbers, position; and
    what callbacks are `keeping`."""
    save_file(trained_of(trainer.model), folder / TRAINED)
    for callback in keeping:
        callback.keep_files(folder)
    copy_logs(run, folder)
    trainer._save_optimizer_and_scheduler(str(folder))
    trainer._save_scaler(str(folder))
    for name, data in states.items():
        (folder / name).write_bytes(data)
    state = copy(trainer.state)
    state.eval_steps = trainer.args.eval_steps  # a Validation decides, and transformers compares
    state.stateful_callbacks = {}  # ours keep plugins' guards: put_states
    state.save_to_json(str(folder / STATE))


def copy_logs(source: Path, target: Path) -> None:
    """What was written of each step until now."""
    for name in (METRICS, SAMPLES, SCORES):
        if (source / name).exists():
            copyfile(source / name, target / name)


def trained_of(model) -> dict:
    """The weights that are trained, by name, on the CPU."""
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    return {n: p.detach().contiguous().cpu() for n, p in trained.items()}


def load_trained(model, folder: Path) -> None:
    """Put a checkpoint's adapter in the place of a fresh one; the optimizer keeps its groups."""
    put_trained(model, load_file(folder / TRAINED), folder)


def put_trained(model, stored: dict, whence) -> None:
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    shapes = {n: tuple(p.shape) for n, p in trained.items()}
    if shapes != {n: tuple(t.shape) for n, t in stored.items()}:
        raise Failure(f"{whence}: its adapter has other weights than the one that is trained now.")
    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.copy_(stored[name])
