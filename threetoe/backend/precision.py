"""In which precision a base is loaded: 4 bits where they are good, and stored weights kept."""

from typing import NamedTuple

from threetoe.backend.model import keeps_fp32
from threetoe.backend.sizes import count_parameters
from threetoe.machine.libraries import has_gpu
from threetoe.machine.space import available_memory

# Parameters of a base that 4 bits do not ruin: SmolLM2-135M loses 3.5 nats a token by them.
ENOUGH = 1.5e9


class Precision(NamedTuple):
    in_4bit: bool
    said: str  # 135M parameters in bf16
    flag: str  # what chooses otherwise; "" where a flag, or the base, has chosen


def choose_precision(model: str, asked: bool | None, stored_in_4bit: bool) -> Precision:
    """How a base is loaded: as asked, else as it is stored, else in 4 bits where it is large and
    the machine has a GPU, or no memory for 16; nothing is loaded to find out."""
    count = count_parameters(model)
    size = f"{count / 1e9:.1f}B" if count >= 1e9 else f"{max(1, round(count / 1e6))}M"
    wide = 4 if keeps_fp32(model) else 2  # bytes a weight
    in_4bit = asked
    if asked is None:
        in_4bit = stored_in_4bit or count >= ENOUGH and (has_gpu() or not has_room(wide * count))
    what = "4 bits" if in_4bit or stored_in_4bit else name_16bit(wide)
    flag = "--no-load-in-4bit for 16 bits" if in_4bit else "--load-in-4bit for 4 bits"
    free = asked is None and not stored_in_4bit
    return Precision(bool(in_4bit), f"{size} parameters in {what}", flag if free else "")


def has_room(weights: float) -> bool:
    """Whether the memory that is left holds the weights, and as much again to train with."""
    left = available_memory()
    return left is not None and left >= 2 * weights


def name_16bit(wide: int) -> str:
    if not has_gpu():
        return "fp32" if wide == 4 else "bf16"
    import torch

    return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
