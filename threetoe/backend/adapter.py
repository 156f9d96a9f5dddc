"""What is in the folder of a LoRA adapter, checked before anything is loaded."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TypedDict

from threetoe.backend.checkpoint import Stored, read_header
from threetoe.errors import UserError
from threetoe.machine.limits import bounded
from threetoe.machine.records import read_json

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


class AdapterConfig(TypedDict, total=False):
    """Of PEFT's adapter_config.json what is read here, or decides what PEFT does."""

    peft_type: str
    base_model_name_or_path: str | None
    r: int
    lora_alpha: float
    rank_pattern: dict[str, int] | None
    alpha_pattern: dict[str, float] | None
    target_modules: list[str] | str | None
    exclude_modules: list[str] | str | None
    modules_to_save: list[str] | None
    layers_to_transform: list[int] | int | None
    trainable_token_indices: list[int] | dict[str, list[int]] | None
    lora_dropout: float
    use_rslora: bool
    use_dora: bool
    fan_in_fan_out: bool


def is_adapter(folder: Path) -> bool:
    return (folder / CONFIG).exists()


def read_config(folder: Path) -> AdapterConfig:
    """adapter_config.json; UserError when it is damaged, or a rank is none."""
    config = read_json(folder / CONFIG, AdapterConfig)
    ranks = [config.get("r", 1), *(config.get("rank_pattern") or {}).values()]
    if min(ranks) < 1:
        raise UserError(f"{folder / CONFIG} is damaged: it has the rank {min(ranks)}.")
    return config


def check_adapter(folder: Path) -> None:
    """UserError unless configuration and weights are whole, and every pattern that PEFT will match
    with the names of modules is one, and comes to an end."""
    config, tensors = read_config(folder), read_header(folder / WEIGHTS)
    targets = [config.get(name) for name in ("target_modules", "exclude_modules")]
    patterns = {
        *(config.get("rank_pattern") or ()), *(config.get("alpha_pattern") or ()),
        *(target for target in targets if isinstance(target, str)),
    }  # fmt: skip
    try:
        with bounded(f"{folder / CONFIG}: matching its patterns with its modules"):
            match_all(patterns, tensors)
    except (re.error, OverflowError, RecursionError) as error:
        raise UserError(f"{folder / CONFIG} is damaged: a pattern in it: {error}.") from error


def match_all(patterns: Iterable[str], tensors: list[Stored]) -> None:
    for module in {tensor.name.partition(".lora_")[0] for tensor in tensors}:
        for pattern in patterns:
            by_pattern({pattern: True}, module, None)


def by_pattern(patterns: dict | None, module: str, default):
    """The value of the first pattern that matches the module's end, as PEFT matches them."""
    found = (v for key, v in (patterns or {}).items() if re.match(rf"(.*\.)?({key})$", module))
    return next(found, default)


def rows_of_adapter(folder: Path) -> int:
    """How many rows the base of an adapter must have; 0 when it trained none of them."""
    if not is_adapter(folder):
        return 0
    found = read_config(folder).get("trainable_token_indices") or []
    lists = found.values() if isinstance(found, dict) else [found]
    return 1 + max((row for rows in lists for row in rows), default=-1)
