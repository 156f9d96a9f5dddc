"""Base + adapter as the tensors of a GGUF file: names, order of rows, and bytes, piece by piece."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from threetoe.backend.checkpoint import FLOATS, Stored, read_base_config
from threetoe.errors import UserError
from threetoe.export.gguf.types import on_q8_steps, rounded, size_in_bytes, type_of
from threetoe.export.merge.changes import OUTPUT, is_tied
from threetoe.export.merge.merge import Merge, one_thread, plan_merge
from threetoe.export.merge.options import MergeOptions
from threetoe.export.merge.shards import BITS, output_of

# By model_type: llama.cpp's name, and whether its rope wants the rows of q and k in pairs.
ARCHITECTURES = {
    "llama": ("llama", True),
    "mistral": ("llama", True),
    "qwen2": ("qwen2", False),
    "qwen3": ("qwen3", False),
}
LEFT_OUT = "rotary_emb.inv_freq"  # old checkpoints store what follows from rope_theta


class Target(NamedTuple):
    """A tensor of a GGUF file, and what it holds: a merged one, or numbers in fp32."""

    name: str
    shape: tuple[int, ...]
    kind: str  # F32, Q8_0, ...
    merged: Stored | None
    heads: int = 0  # whose rows are put in pairs; 0: left as they are
    numbers: bytes = b""

    @property
    def size(self) -> int:
        """Bytes."""
        return size_in_bytes(self.shape, self.kind)


class Tensors(NamedTuple):
    targets: list[Target]
    plan: Merge

    @property
    def rows(self) -> int:
        """Of the embeddings: the vocabulary."""
        return next(one.shape[0] for one in self.targets if one.name == "token_embd.weight")


def list_tensors(base: Path, adapter: Path, name: str, options: MergeOptions) -> Tensors:
    """What a file of type `name` holds, in its order, to be merged in its type where that is a
    float and else in fp32; UserError for a tensor that llama.cpp has no name for. Reads headers
    only."""
    plan, config = plan_merge(base, adapter, options), read_base_config(base)
    targets = [
        one._replace(merged=output_of(one.merged, one.kind if one.kind in BITS else "F32"))
        for one in targets_of(plan, config, name)
    ]
    return Tensors(rope_factors(config) + targets, plan)


def targets_of(plan: Merge, config: dict, name: str) -> list[Target]:
    """Those of list_tensors, for a plan whose outputs are of any float type."""
    from gguf import MODEL_ARCH_NAMES, get_tensor_name_map

    tied = is_tied(plan.outputs, config) and not plan.split
    architecture, in_pairs = ARCHITECTURES[config["model_type"]]
    arch = next(a for a, known in MODEL_ARCH_NAMES.items() if known == architecture)
    layers, heads = config["num_hidden_layers"], config["num_attention_heads"]
    names = get_tensor_name_map(arch, layers)
    key_heads = config.get("num_key_value_heads") or heads
    turned = {"attn_q": heads, "attn_k": key_heads} if in_pairs else {}
    targets = []
    for merged in plan.outputs:
        if merged.name.endswith(LEFT_OUT) or tied and merged.name == OUTPUT:
            continue
        target = names.get_name(merged.name, try_suffixes=(".weight", ".bias"))
        if target is None or merged.dtype not in FLOATS:
            raise UserError(f"--gguf: llama.cpp's {architecture} has no place for {merged}.")
        kind = type_of(target, merged.shape, name, layers, tied, heads // key_heads)
        pairs = turned.get(target.split(".")[-2], 0)
        targets.append(Target(target, merged.shape, kind, merged, pairs))
    return targets


def numbers_of(tensors: Tensors) -> Iterator[tuple[Target, Iterator]]:
    """Every target in its order, with its bytes in pieces of about a MB; heads that are put in
    pairs come at once. Chance moves numbers to steps of q8_0 alone: what coarser types do to the
    base is more than what is lost of an adapter."""
    plan = tensors.plan
    with one_thread():
        for target in tensors.targets:
            if target.merged is None:
                yield target, [target.numbers]
                continue
            blocks = (
                plan.blocks_by_chance(target.merged, on_q8_steps)
                if target.kind == "Q8_0"
                else plan.blocks(target.merged)
            )
            yield target, in_type(target, blocks)


def in_type(target: Target, blocks: Iterator) -> Iterator:
    """A merged tensor's blocks of rows as bytes of a target's type, of which f32, f16 and bf16 ones
    are already."""
    import torch

    if target.heads:
        blocks = [in_pairs(torch.cat([block.clone() for block in blocks]), target.heads)]
    for block in blocks:
        if target.kind in BITS:
            yield block.contiguous().view(torch.uint8).numpy()
        else:
            yield rounded(block.numpy().ravel(), target.kind)


def in_pairs(weight, heads: int):
    """The rows of q or k, of which transformers turns the first half of a head with the second,
    so that llama.cpp turns each row with the next."""
    rows = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
    return rows.transpose(1, 2).reshape(weight.shape)


def rope_factors(config: dict) -> list[Target]:
    """By what Llama 3's rope scaling divides each frequency; none without it.

    transformers.modeling_rope_utils._compute_llama3_parameters has the same formula.
    """
    import numpy as np

    rope, head = rope_of(config), head_size(config)
    if rope["rope_type"] != "llama3":
        return []
    turns = rope["rope_theta"] ** (-np.arange(0, head, 2, dtype=np.float64) / head)
    waves = rope["original_max_position_embeddings"] * turns / (2 * np.pi)
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    smooth = np.clip((waves - low) / (high - low), 0, 1)
    factors = (1 / ((1 - smooth) / rope["factor"] + smooth)).astype(np.float32)
    return [Target("rope_freqs.weight", factors.shape, "F32", None, numbers=factors.tobytes())]


def head_size(config: dict) -> int:
    return config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]


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
