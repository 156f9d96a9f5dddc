"""Checkpoints and adapters of any size with true headers and holes for numbers, made at once."""

import json
import os
from math import prod
from pathlib import Path

from threetoe.backend.checkpoint import Stored, header_bytes

BYTES = {"BF16": 2, "F16": 2, "F32": 4, "U8": 1}


def write_hollow(path: Path, shapes: dict, dtype: str = "BF16") -> Path:
    stored, start = [], 0
    for name, shape in shapes.items():
        size = prod(shape) * BYTES[dtype]
        stored.append(Stored(name, dtype, tuple(shape), path, start, size))
        start += size
    head = header_bytes(stored)
    path.write_bytes(head)
    os.truncate(path, len(head) + start)
    return path


def write_base(folder: Path, hidden=64, vocab=100, layers=2, dtype="BF16", **config) -> Path:
    """A folder with what a Llama's attention and embedding are called."""
    folder.mkdir(parents=True)
    shapes = {"model.embed_tokens.weight": (vocab, hidden), "lm_head.weight": (vocab, hidden)}
    for layer in range(layers):
        for name in "qv":
            shapes[f"model.layers.{layer}.self_attn.{name}_proj.weight"] = (hidden, hidden)
    write_hollow(folder / "model.safetensors", shapes, dtype)
    stated = {"num_hidden_layers": layers, "num_attention_heads": 1, "hidden_size": hidden}
    config = {"model_type": "llama", **stated, **config}
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    return folder


def write_adapter(folder: Path, hidden=64, layers=2, rank=4) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    shapes = {}
    for layer in range(layers):
        for name in "qv":
            place = f"base_model.model.model.layers.{layer}.self_attn.{name}_proj"
            shapes[f"{place}.lora_A.weight"] = (rank, hidden)
            shapes[f"{place}.lora_B.weight"] = (hidden, rank)
    write_hollow(folder / "adapter_model.safetensors", shapes, "F32")
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": rank, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config), "utf-8")
    return folder
