"""Sets what Adam remembers of the steps before, and its epsilon.

python train.py --dataset my.json --plugin plugins/adam.py --set beta2=0.95
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    beta1: float = 0.9  # of the gradients' mean; transformers' defaults
    beta2: float = 0.999  # of their squares' mean: 0.95 forgets sooner, for short trainings
    epsilon: float = 1e-8


def map_training_args(arguments, settings):
    return {**arguments, **{f"adam_{name}": value for name, value in vars(settings).items()}}
