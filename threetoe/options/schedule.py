"""The options of how weights are moved: learning rate, its schedule, the optimizer."""

from dataclasses import dataclass

import click

from threetoe.options.lora import ModelConfig
from threetoe.options.types import MOST, FiniteRange, Pair, WholeRange, option

LEARNING_RATE, WIDTH = 2e-4, 4096  # that of Llama 3 8B; Adam's rate goes with 1 / width, as in muP
WARMUP = 5  # steps
SCHEDULES = """
    linear cosine cosine_with_restarts polynomial constant constant_with_warmup inverse_sqrt
    reduce_lr_on_plateau cosine_with_min_lr cosine_warmup_with_min_lr warmup_stable_decay greedy
""".split()
OPTIMIZERS = """
    adamw_torch adamw_torch_fused adamw_8bit adamw_bnb_8bit paged_adamw_32bit paged_adamw_8bit
    adamw_torch_4bit adamw_torch_8bit adamw_torch_xla adamw_torch_npu_fused adamw_anyprecision
    adafactor sgd adagrad rmsprop rmsprop_bnb rmsprop_bnb_8bit rmsprop_bnb_32bit
    lion_8bit lion_32bit paged_lion_8bit paged_lion_32bit
    ademamix ademamix_8bit paged_ademamix_32bit paged_ademamix_8bit stable_adamw grokadamw
    galore_adamw galore_adamw_8bit galore_adafactor galore_adamw_layerwise
    galore_adamw_8bit_layerwise galore_adafactor_layerwise apollo_adamw apollo_adamw_layerwise
    lomo adalomo schedule_free_adamw schedule_free_radam schedule_free_sgd
""".split()


@dataclass(frozen=True)
class ScheduleConfig(ModelConfig):
    """What a training is asked of its steps."""

    learning_rate: float = option(
        None, "Peak learning rate.", FiniteRange(0, min_open=True), "Training",
        show_default=f"{LEARNING_RATE} for a base of hidden size {WIDTH:,} or more, and for a "
        f"narrower one {LEARNING_RATE} x {WIDTH} / hidden size",
    )  # fmt: skip
    warmup_steps: int = option(
        None, "Steps of rising learning rate.", WholeRange(0, MOST), "Training",
        show_default=str(WARMUP),
    )  # fmt: skip
    warmup_ratio: float = option(
        None, "The same as a share of all steps, rounded up.",
        FiniteRange(0, 1, max_open=True), "Training",
    )  # fmt: skip
    lr_scheduler_type: str = option(
        "linear", "Learning-rate schedule, a name of transformers: cosine, constant_with_warmup, "
        "polynomial, inverse_sqrt, warmup_stable_decay, ...",
        click.Choice(SCHEDULES), "Training", metavar="NAME",
    )  # fmt: skip
    lr_scheduler_kwargs: tuple = option(
        (), "What a schedule takes besides, such as min_lr=1e-5; may be repeated.",
        Pair(), "Training", multiple=True,
    )  # fmt: skip
    optim: str = option(
        "adamw_8bit", "Optimizer, a name of transformers: adamw_torch, adafactor, lion_8bit, "
        "ademamix, sgd, ...; on a CPU those called adamw are torch's AdamW.",
        click.Choice(OPTIMIZERS), "Training", metavar="NAME",
    )  # fmt: skip
    weight_decay: float = option(0.01, "Weight decay.", FiniteRange(min=0), "Training")
    max_grad_norm: float = option(
        1.0, "Longest gradient of a step, to which longer ones are cut; 0 cuts none.",
        FiniteRange(min=0), "Training",
    )  # fmt: skip
    neftune_noise_alpha: float = option(
        None, "Noise in the embeddings while training (NEFTune); 5 to 15 are usual.",
        FiniteRange(0, min_open=True), "Training",
    )  # fmt: skip

    @property
    def warmup(self) -> float:
        """Steps, or below 1 a share of all steps, as transformers reads it."""
        steps = WARMUP if self.warmup_steps is None else self.warmup_steps
        return steps if self.warmup_ratio is None else self.warmup_ratio
