"""Base + adapter as the tensors of a GGUF file: names, order of rows, and bytes, piece by piece."""

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from threetoe.adapter_rows import Change, grown_heights, is_tied
from threetoe.errors import UserError
from threetoe.merge import check_merge, merge_tensor, one_thread
from threetoe.quantize import rounded, size_in_bytes, type_of
from threetoe.shards import FLOATS, Stored, read_json

# By model_type: llama.cpp's name, and whether its rope wants the rows of q and k in pairs.
ARCHITECTURES = {
    "llama": ("llama", True),
    "mistral": ("llama", True),
    "qwen2": ("qwen2", False),
    "qwen3": ("qwen3", False),
}
LEFT_OUT = "rotary_emb.inv_freq"  # old checkpoints store what follows from rope_theta


class Target(NamedTuple):
    """A tensor of a GGUF file, and where its numbers come from."""

    name: str
    shape: tuple[int, ...]
    kind: str  # F32, Q8_0, ...
    source: Stored
    heads: int = 0  # whose rows are put in pairs; 0: left as they are

    @property
    def size(self) -> int:
        """Bytes."""
        return size_in_bytes(self.shape, self.kind)


class Tensors(NamedTuple):
    targets: list[Target]
    changes: dict[str, Change]
    rows: int  # of the embeddings: the vocabulary


def list_tensors(base: Path, adapter: Path, name: str) -> Tensors:
    """What a file of type `name` holds, in its order; UserError for a tensor that llama.cpp has
    no name for. Reads headers only."""
    from gguf import MODEL_ARCH_NAMES, get_tensor_name_map

    config = read_json(base / "config.json")
    stored, changes = check_merge(base, adapter)
    heights, tied = grown_heights(stored, changes), is_tied(stored, config)
    architecture, in_pairs = ARCHITECTURES[config["model_type"]]
    arch = next(a for a, known in MODEL_ARCH_NAMES.items() if known == architecture)
    layers = config["num_hidden_layers"]
    names = get_tensor_name_map(arch, layers)
    key_heads = config.get("num_key_value_heads") or config["num_attention_heads"]
    targets = []
    for source in stored:
        if source.name.endswith(LEFT_OUT) or tied and source.name == "lm_head.weight":
            continue
        target = names.get_name(source.name, try_suffixes=(".weight", ".bias"))
        if target is None or source.dtype not in FLOATS:
            raise UserError(f"--gguf: llama.cpp's {architecture} has no place for {source}.")
        shape = (heights.get(source.name, source.shape[0]), *source.shape[1:])
        group = config["num_attention_heads"] // key_heads
        kind = type_of(target, shape, name, layers, tied, group)
        heads = {"attn_q": config["num_attention_heads"], "attn_k": key_heads}
        heads = heads.get(target.split(".")[-2], 0) if in_pairs else 0
        targets.append(Target(target, shape, kind, source, heads))
    rows = next(target.shape[0] for target in targets if target.name == "token_embd.weight")
    return Tensors(targets, changes, rows)


def tensor_bytes(target: Target, changes: dict, as_used) -> Iterator:
    """The bytes of a tensor, in pieces of about a MB; heads that are put in pairs at once."""
    import numpy as np

    with one_thread():
        if not target.heads:
            for piece in merged_pieces(target, changes, as_used):
                yield rounded(piece, target.kind)
            return
        whole = np.empty(math.prod(target.shape), dtype=np.float32)
        done = 0
        for piece in merged_pieces(target, changes, as_used):
            whole[done : done + piece.size] = piece
            done += piece.size
    yield rounded(in_pairs(whole.reshape(target.shape), target.heads).ravel(), target.kind)


def merged_pieces(target: Target, changes: dict, as_used) -> Iterator:
    """Base + adapter in fp32 as flat arrays; each is good until the next one is asked for."""
    import numpy as np

    count = math.prod(target.shape)
    output = replace(target.source, dtype="F32", shape=target.shape, size=4 * count)
    buffers = deque([bytearray()])
    for piece in merge_tensor(target.source, output, changes, buffers, as_used):
        yield np.frombuffer(piece, dtype=np.float32)


def in_pairs(weight, heads: int):
    """The rows of q or k, of which transformers turns the first half of a head with the second,
    so that llama.cpp turns each row with the next."""
    rows = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
    return rows.swapaxes(1, 2).reshape(weight.shape)


def rope_factors(config: dict, head: int):
    """By what Llama 3's rope scaling divides each frequency, in fp32; None without it.

    transformers.modeling_rope_utils._compute_llama3_parameters has the same formula.
    """
    import numpy as np

    rope = rope_of(config)
    if rope["rope_type"] != "llama3":
        return None
    turns = rope["rope_theta"] ** (-np.arange(0, head, 2, dtype=np.float64) / head)
    waves = rope["original_max_position_embeddings"] * turns / (2 * np.pi)
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    smooth = np.clip((waves - low) / (high - low), 0, 1)
    return (1 / ((1 - smooth) / rope["factor"] + smooth)).astype(np.float32)


def rope_of(config: dict) -> dict:
    """The rope's settings, as transformers 5 writes them or as versions before it did."""
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    length = config.get("max_position_embeddings", 2048)
    return {
        "rope_theta": config.get("rope_theta", 10000.0),
        "original_max_position_embeddings": length,
        **rope,
        "rope_type": rope.get("rope_type") or rope.get("type") or "default",
    }
