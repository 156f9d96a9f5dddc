"""The options of the base that is trained, and of what is trained of it."""

from dataclasses import dataclass

import click

from threetoe.options.shared import DataConfig
from threetoe.options.types import PLACE, FiniteRange, WholeRange, Words, option

ALL_LINEAR = "all-linear"
SEVEN_PROJECTIONS = tuple(f"{name}_proj" for name in "q k v o gate up down".split())


@dataclass(frozen=True)
class ModelConfig(DataConfig):
    """What a training is asked of its base and adapter."""

    model: str = option(
        None, "A Hub id, a folder, or tiny (the embedded model).", PLACE, "Model",
        show_default="unsloth/llama-3-8b-bnb-4bit on a CUDA GPU, else tiny",
    )  # fmt: skip
    load_in_4bit: bool = option(
        None, "Quantise the base to 4 bits (NF4).", click.BOOL, "Model", switch=True,
        show_default="for 1.5B parameters or more, but where a CPU has memory for 16 bits",
    )  # fmt: skip
    lora_r: int = option(16, "LoRA rank.", WholeRange(1, 65_536), "Model")
    lora_alpha: int = option(
        16, "LoRA alpha; updates are scaled by alpha / r.", WholeRange(1, 10**6), "Model"
    )
    lora_dropout: float = option(
        0.0, "LoRA dropout; 0 is the fast path.", FiniteRange(0, 1, max_open=True), "Model"
    )
    use_rslora: bool = option(
        False, "Scale updates by alpha / sqrt(r), which lets high ranks learn.", group="Model"
    )
    use_dora: bool = option(
        False, "Learn the length of each output apart from its direction (DoRA); slower.",
        group="Model",
    )  # fmt: skip
    target_modules: tuple = option(
        SEVEN_PROJECTIONS, f"Layers that get an adapter; {ALL_LINEAR}: all but the head.",
        Words(), "Model", show_default=",".join(SEVEN_PROJECTIONS),
    )  # fmt: skip
    modules_to_save: tuple = option(
        None, "embed_tokens, lm_head or both: trained whole, beside the adapter.", Words(), "Model"
    )
    init_adapter: str = option(
        None, "Go on from this adapter, a run's folder or a Hub id: its base, rank, alpha and "
        "layers are taken, and a new run is written.", PLACE, "Model",
    )  # fmt: skip
    use_gradient_checkpointing: str = option(
        "unsloth", "Trade compute for memory.", click.Choice(["unsloth", "true", "false"]), "Model"
    )
