"""Adds noise to the embeddings while training (NEFTune, arxiv.org/abs/2310.05914).

python train.py --dataset my.json --plugin plugins/neftune.py
"""


def map_training_args(arguments):
    return {**arguments, "neftune_noise_alpha": 5.0}
