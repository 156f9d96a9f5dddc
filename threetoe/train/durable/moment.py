"""A moment between two steps of a training: what it depends on beside weights and optimizer."""

import json
import random
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from threetoe.machine import processes

SUMS = ("_total_loss_scalar", "_total_train_tokens")  # of a trainer: losses, and tokens read


class Moment(NamedTuple):
    """What a step finds when it begins."""

    step: int  # steps that are done
    sums: dict
    callbacks: dict
    generators: tuple  # of random numbers

    @classmethod
    def now(cls, trainer, callbacks: dict) -> "Moment":
        step, sums = trainer.state.global_step, sums_of(trainer)
        return cls(step, sums, states_of(callbacks), generators())

    def restore(self, trainer) -> None:
        """Put the sums and the random numbers back."""
        vars(trainer).update(self.sums)
        put_generators(self.generators)


def generators() -> tuple:
    """The states of all random numbers of this process."""
    import numpy
    import torch

    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return random.getstate(), numpy.random.get_state(), torch.get_rng_state(), cuda


def put_generators(states: tuple) -> None:
    import numpy
    import torch

    python, of_numpy, cpu, cuda = states
    random.setstate(python)
    numpy.random.set_state(of_numpy)
    torch.set_rng_state(cpu)
    if cuda:
        torch.cuda.set_rng_state_all(cuda)


def sums_of(trainer) -> dict:
    return {name: getattr(trainer, name) for name in SUMS if hasattr(trainer, name)}


def random_states(trainer) -> dict[str, bytes]:
    """The files with the random numbers of every process, by name."""
    with TemporaryDirectory() as folder:
        trainer._save_rng_state(folder)
        (mine,) = Path(folder).iterdir()
        return dict(processes.gather((mine.name, mine.read_bytes())))


def states_of(callbacks: dict) -> dict:
    """What each callback that has a state() says of itself; JSON values."""
    states = {name: c.state() for name, c in callbacks.items() if hasattr(c, "state")}
    return json.loads(json.dumps(states))


def put_states(callbacks: dict, states: dict) -> None:
    """Give callbacks their states back: by load_state(), or as transformers' ExportableState."""
    for name, state in states.items():
        callback = callbacks.get(name)
        if hasattr(callback, "load_state"):
            callback.load_state(state)
        elif callback is not None:
            vars(callback).update(state["attributes"])
