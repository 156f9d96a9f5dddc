"""What a LoRA adapter changes in a base checkpoint, and why it would not fit; headers only.

Whatever would not be merged exactly as PEFT merges it is refused here, before anything is written.
"""

import math
from collections.abc import Iterator
from pathlib import Path

from threetoe.backend.adapter import by_pattern, read_config
from threetoe.backend.checkpoint import (
    FLOATS,
    Stored,
    list_checkpoint,
    read_base_config,
    read_header,
)
from threetoe.errors import UserError
from threetoe.export.merge.changes import (
    Change,
    height_problems,
    is_embedding,
    is_tied,
    lost_rows,
    row_problems,
    rows_of,
    settle_tied,
)
from threetoe.export.merge.nf4 import unpacked

PLAIN = {"I64", "I32", "I16", "BOOL"}  # counters and masks, copied as they are
PARTS = {
    ".lora_A.weight": "A",
    ".lora_B.weight": "B",
    ".lora_embedding_A": "A",
    ".lora_embedding_B": "B",
    ".lora_magnitude_vector": "magnitude",
    ".lora_magnitude_vector.weight": "magnitude",
    ".token_adapter.trainable_tokens_delta": "rows",
}
UNDERSTOOD = """
    peft_type r lora_alpha rank_pattern alpha_pattern use_rslora use_dora fan_in_fan_out bias
    modules_to_save target_modules exclude_modules layers_to_transform layers_pattern
    init_lora_weights trainable_token_indices
"""
# These concern training, loading or the record; a merge is the same with any value of them.
WITHOUT_EFFECT = """
    task_type inference_mode base_model_name_or_path revision auto_mapping peft_version
    lora_dropout megatron_config megatron_core qalora_group_size eva_config loftq_config
    corda_config lora_ga_config runtime_config ensure_weight_tying
"""
KEEPS_BASE = (True, False, None, "gaussian", "eva", "orthogonal", "mica")  # unlike pissa, loftq


def check_merge(base: Path, adapter: Path) -> tuple[list[Stored], dict[str, Change], bool]:
    """The base's tensors in order, with lm_head where its tied one is split; what the adapter
    changes, by their names; and whether it is: the base ties its embeddings, the result does not.

    Reads headers only. Raises one UserError with a line for each kind of problem.
    """
    config = read_config(adapter)
    refuse(config_problems(config))
    tensors = unpacked(list_checkpoint(base))
    base_config = read_base_config(base) if (base / "config.json").is_file() else {}
    refuse(base_problems(base, tensors, base_config))
    changes, strangers = read_changes(adapter, config)
    tied, split = is_tied(tensors, base_config), False
    if tied:
        tensors, changes, split = settle_tied(tensors, changes, config)
    refuse([*strangers, *change_problems(tensors, changes, config, tied and not split)])
    return tensors, changes, split


def refuse(problems) -> None:
    """One UserError for all (kind, text): a line for each kind, its first text and a count."""
    kinds: dict[str, list[str]] = {}
    for kind, text in problems:
        kinds.setdefault(kind, []).append(text)
    if kinds:
        more = [f" (and {len(texts) - 1} more)" if texts[1:] else "" for texts in kinds.values()]
        raise UserError(*[texts[0] + n for texts, n in zip(kinds.values(), more, strict=True)])


def config_problems(config: dict) -> Iterator[tuple[str, str]]:
    """What adapter_config.json asks for and this merge does not do."""
    if config.get("peft_type") != "LORA":
        yield "type", f"The adapter's peft_type is {config.get('peft_type')}: only LORA is merged."
    if (init := config.get("init_lora_weights")) not in KEEPS_BASE:
        text = f"The adapter's init_lora_weights={init!r} changed the base weights themselves: save"
        yield "init", f"{text} it with path_initial_model_for_weight_conversion and merge that."
    for name in ("r", "lora_alpha"):
        if not isinstance(config.get(name), (int, float)):
            yield "scale", f"The adapter's {name} is {config.get(name)!r}: it must be a number."
    for name in sorted(config.keys() - set(UNDERSTOOD.split()) - set(WITHOUT_EFFECT.split())):
        if config[name]:
            yield name, f"The adapter uses {name}={config[name]!r}, which is not merged yet."


def base_problems(base: Path, tensors: list[Stored], config: dict) -> Iterator[tuple[str, str]]:
    """Quantised weights, except those in 4 bits that nf4.py expands."""
    method = (config.get("quantization_config") or {}).get("quant_method")
    if method not in (None, "bitsandbytes"):
        yield "base", f"{base} is quantised ({method}): merge into its 16-bit original instead."
        return
    for tensor in tensors:
        if tensor.dtype not in FLOATS and tensor.dtype not in PLAIN:
            yield "base", f"The base holds {tensor}: quantised or unknown weights are not merged."


def read_changes(adapter: Path, config: dict) -> tuple[dict[str, Change], list[tuple[str, str]]]:
    """By base tensor name what the adapter changes, and problems with names nobody understands."""
    changes: dict[str, Change] = {}
    strangers = []
    for tensor in read_header(adapter / "adapter_model.safetensors"):
        key = tensor.name.removeprefix("base_model.model.")
        if ".original_module." in key:
            continue  # of a resized model PEFT saves beside its new matrix the one it began with
        key = key.replace(".modules_to_save.", ".") if key != tensor.name else key
        suffix = next((suffix for suffix in PARTS if key.endswith(suffix)), None)
        if key == tensor.name or (suffix is None and "lora_" in key):
            strangers.append(("name", f"The adapter holds {tensor}, which is not understood."))
        elif suffix is None:
            name = key.replace(".base_layer.", ".")
            changes.setdefault(name, Change()).parts["whole"] = tensor
        else:
            module = key.removesuffix(suffix)
            change = changes.setdefault(module + ".weight", Change())
            change.parts[PARTS[suffix]] = tensor
            change.scale = scale_of(module, config)
            if PARTS[suffix] == "rows":
                change.rows = rows_of(module, config)
            change.flipped |= "embedding" in suffix or bool(config.get("fan_in_fan_out"))
    return changes, strangers


def scale_of(module: str, config: dict) -> float:
    """alpha / r, with rsLoRA alpha / sqrt(r) (arxiv.org/abs/2312.03732); patterns come first."""
    rank = by_pattern(config.get("rank_pattern"), module, config["r"])
    alpha = by_pattern(config.get("alpha_pattern"), module, config["lora_alpha"])
    return alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank


def change_problems(tensors, changes, config, tied: bool) -> Iterator[tuple[str, str]]:
    """Adapter tensors that find no place in the base, and base tensors that lack an adapter."""
    held = {tensor.name: tensor for tensor in tensors}
    if not changes:
        yield "empty", "The adapter holds no tensors: there is nothing to merge."
    for name, change in changes.items():
        if name not in held:
            yield "missing", f"The adapter changes {change}, but the base has no {name}."
        else:
            yield from shape_problems(held[name], change, config)
    yield from height_problems(tensors, changes)
    yield from lost_rows(changes, config, tied)
    untouched = held.keys() - changes.keys()
    expected = [name.removesuffix(".weight") for name in untouched if name.endswith(".weight")]
    for module in sorted(expected):
        if is_wanted(module, config):
            yield "lacking", f"The adapter lacks {module}, which its target or saved modules name."


def is_wanted(module: str, config: dict) -> bool:
    """Whether the adapter's config says that it changes this module of the base.

    Targets given as a regex or narrowed by layer are not judged.
    """
    names = list(config.get("modules_to_save") or [])
    narrowed = config.get("exclude_modules") or config.get("layers_to_transform") is not None
    if isinstance(config.get("target_modules"), list) and not narrowed:
        names += config["target_modules"]
    return any(f".{module}".endswith(f".{name}") for name in names)


def shape_problems(base: Stored, change: Change, config: dict) -> Iterator[tuple[str, str]]:
    if "rows" in change.parts:
        yield from row_problems(base, change)
        return
    parts, fits = change.parts, base.dtype in FLOATS
    fits &= all(part.dtype in FLOATS for part in parts.values())
    if "whole" in parts:
        held = parts["whole"].shape
        same = held[1:] == base.shape[1:] and len(held) == 2 and is_embedding(base.name)
        fits &= held == base.shape or same  # a vocabulary may have another size
    if parts.keys() - {"whole"}:
        asked = {"A", "B", "magnitude"} if config.get("use_dora") else {"A", "B"}
        if parts.keys() - {"whole"} != asked:
            yield "parts", f"The adapter has {change} where {' and '.join(sorted(asked))} belong."
            return
        module = base.name.removesuffix(".weight")
        rank = by_pattern(config.get("rank_pattern"), module, config["r"])
        shape = parts["whole"].shape if "whole" in parts else base.shape
        sides = shape[::-1] if change.flipped else shape
        a, b = parts["A"].shape, parts["B"].shape
        fits &= len(sides) == 2 and (b, a) == ((sides[0], rank), (rank, sides[1]))
        fits &= "magnitude" not in parts or parts["magnitude"].shape == sides[:1]
        expected = f" at rank {rank}"
    else:
        expected = ""
    if not fits:
        yield "shape", f"The adapter's {change} does not fit the base's {base}{expected}."
