"""Trains the adapter of the last half of the layers only: less to learn, less to forget.

python train.py --dataset my.json --plugin plugins/last_layers.py
"""

import re


def map_model(model):
    kept = model.config.num_hidden_layers // 2
    for name, parameter in model.named_parameters():
        layer = re.search(r"\.layers\.(\d+)\.", name)
        if layer and int(layer.group(1)) < kept:
            parameter.requires_grad_(False)
    return model
