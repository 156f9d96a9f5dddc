"""Trains the adapter of the last layers only, half of them at first: less to learn and forget.

python train.py --dataset my.json --plugin plugins/last_layers.py --set share=0.25
"""

import re
from dataclasses import dataclass

from threetoe.api import UserError


@dataclass(frozen=True)
class Settings:
    share: float = 0.5  # of the layers, counted from the last

    def __post_init__(self):
        if not 0 < self.share <= 1:
            raise UserError(f"last_layers.share={self.share}: more than 0, and 1 at most.")


def map_model(model, settings):
    layers = model.config.num_hidden_layers
    frozen = layers - max(1, round(layers * settings.share))
    for name, parameter in model.named_parameters():
        layer = re.search(r"\.layers\.(\d+)\.", name)
        if layer and int(layer.group(1)) < frozen:
            parameter.requires_grad_(False)
    return model
