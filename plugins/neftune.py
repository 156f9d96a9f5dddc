"""Adds noise to the embeddings while training (NEFTune, arxiv.org/abs/2310.05914).

python train.py --dataset my.json --plugin plugins/neftune.py --set alpha=10
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    alpha: float = 5.0  # the strength of the noise; 5, 10 and 15 are the paper's


def map_training_args(arguments, settings):
    return {**arguments, "neftune_noise_alpha": settings.alpha}
