"""Every option of the three scripts, once: its name, default, range, group and help.

A field's name is the flag's name (lora_r is --lora-r) and the key in a --config file.
Names and meanings are those of transformers, TRL and PEFT wherever they have one.
"""

from dataclasses import dataclass, fields
from pathlib import Path

import click

from threetoe.config_shared import Common as Common
from threetoe.config_shared import DataConfig, split_option
from threetoe.option_types import (
    FilePath,
    FiniteRange,
    Gigabytes,
    Pair,
    Share,
    WholeRange,
    Words,
    option,
)

POSITIVE = WholeRange(min=1)
DEFAULT_STEPS = 60  # without --max-steps and --num-train-epochs
NOT_NEGATIVE = FiniteRange(min=0)
SEED = WholeRange(0, 2**32 - 1)  # what numpy and transformers.set_seed take
SEVEN_PROJECTIONS = tuple(f"{name}_proj" for name in "q k v o gate up down".split())


def template_option(group):
    return option(
        None, "Prompt template of a folder that other tools made: a name, a .yaml file, or "
        "from-tokenizer.", group=group, show_default="the run's own",
    )  # fmt: skip


def force_option(group):
    help = "Use --template even where its prompts are not those that were trained."
    return option(False, help, click.BOOL, group, is_flag=True)


def run_plugins_option():
    help = "Use the run's plugins again where they are as they were, after those of --plugin."
    return option(True, help, click.BOOL, "Plugins", switch=True)


def options_of(config) -> dict:
    """The options of a configuration as plain JSON values, problems left out."""
    values = {f.name: getattr(config, f.name) for f in fields(config) if "help" in f.metadata}
    return {name: str(v) if isinstance(v, Path) else v for name, v in values.items()}


@dataclass(frozen=True)
class TrainConfig(DataConfig):
    dataset_split: str = split_option("train")
    val_size: str = option(
        None, "Rows kept out of training to measure the loss on: a share such as 0.1, or a number.",
        Share(), "Data",
    )  # fmt: skip
    val_split: str = option(
        None, "Split to measure the loss on, instead of --val-size.", group="Data"
    )
    val_dataset: str = option(
        None, "Dataset to measure the loss on, instead of --val-size.", group="Data"
    )
    template: str = option(
        None,
        "Prompt template: a name (python -m threetoe templates), a .yaml file, or from-tokenizer: "
        "the base's own chat template.",
        group="Data", show_default="alpaca; plain where all rows are whole texts",
    )  # fmt: skip
    train_on_inputs: bool = option(
        False, "Learn the prompt too, not the answer alone.", click.BOOL, "Data", is_flag=True
    )
    new_tokens: str = option(
        "text",
        "Special tokens of the template that the base lacks: learn them as plain text, spell them "
        "with tokens the base has in reserve, or add them; the last two train the tokens' rows.",
        click.Choice(["text", "reserved", "add"]), "Data",
    )  # fmt: skip
    batching_strategy: str = option(
        "padding", "padding puts rows of similar length together; packing fills every row of "
        "--max-seq-length with several examples that do not see each other.",
        click.Choice(["padding", "packing"]), "Data",
    )  # fmt: skip
    max_seq_length: int = option(
        2048, "Longest row in tokens; longer rows are cut.", WholeRange(min=8), "Data"
    )

    model: str = option(
        None, "A Hub id, a folder, or tiny (the embedded model).", group="Model",
        show_default="unsloth/llama-3-8b-bnb-4bit on a CUDA GPU, else tiny",
    )  # fmt: skip
    load_in_4bit: bool = option(
        True, "Quantise the base to 4 bits (NF4).", click.BOOL, "Model", switch=True
    )
    lora_r: int = option(16, "LoRA rank.", POSITIVE, "Model")
    lora_alpha: int = option(16, "LoRA alpha; updates are scaled by alpha / r.", POSITIVE, "Model")
    lora_dropout: float = option(
        0.0, "LoRA dropout; 0 is the fast path.", FiniteRange(0, 1, max_open=True), "Model"
    )
    target_modules: tuple = option(
        SEVEN_PROJECTIONS, "Layers that get an adapter.", Words(), "Model",
        show_default=",".join(SEVEN_PROJECTIONS),
    )  # fmt: skip
    use_gradient_checkpointing: str = option(
        "unsloth", "Trade compute for memory.", click.Choice(["unsloth", "true", "false"]), "Model"
    )

    output_dir: Path = option(
        None, "Run folder to write.", FilePath(path_type=Path), "Training",
        show_default="runs/DATASET-TEMPLATE",
    )  # fmt: skip
    eval_steps: int = option(
        None, "Steps between losses on validation rows.", POSITIVE, "Training",
        show_default="a tenth of the training",
    )  # fmt: skip
    push_to: str = option(
        None, "Where export.py will push, user/model: token and permission are checked first.",
        group="Training",
    )  # fmt: skip
    per_device_train_batch_size: int = option(4, "Rows a forward pass.", POSITIVE, "Training")
    gradient_accumulation_steps: int = option(
        4, "Forward passes an optimizer step.", POSITIVE, "Training"
    )
    learning_rate: float = option(
        2e-4, "Peak learning rate.", FiniteRange(0, min_open=True), "Training"
    )
    num_train_epochs: float = option(
        None, "Passes over the data, instead of --max-steps.",
        FiniteRange(0, min_open=True), "Training",
    )  # fmt: skip
    max_steps: int = option(
        None, "Optimizer steps.", POSITIVE, "Training",
        show_default=f"{DEFAULT_STEPS}, unless --num-train-epochs is given",
    )  # fmt: skip
    warmup_steps: int = option(5, "Steps of rising learning rate.", WholeRange(min=0), "Training")
    weight_decay: float = option(0.01, "Weight decay.", NOT_NEGATIVE, "Training")
    lr_scheduler_type: str = option(
        "linear", "Learning-rate schedule.",
        click.Choice(["linear", "cosine", "constant", "constant_with_warmup"]), "Training",
    )  # fmt: skip
    optim: str = option(
        "adamw_8bit", "Optimizer, a name of transformers; on a CPU adamw_8bit is torch's AdamW.",
        click.Choice(["adamw_8bit", "adamw_torch", "paged_adamw_8bit", "paged_adamw_32bit"]),
        "Training",
    )  # fmt: skip
    seed: int = option(3407, "Seed of the order, the adapter and dropout.", SEED, "Training")

    preview: int = option(
        0, "Print N rows as the model will see them and stop; no weights are loaded.",
        WholeRange(min=0), "Look first", show_default=False,
    )  # fmt: skip
    dry_run: bool = option(
        False, "Print what would be trained and stop; no weights are loaded.", click.BOOL,
        "Look first", is_flag=True,
    )  # fmt: skip
    token_rows: tuple | None = None  # tokens.Rows to train, once --new-tokens has found them

    @property
    def steps(self) -> int | None:
        """Optimizer steps; None where --num-train-epochs decides."""
        return self.max_steps or (None if self.num_train_epochs else DEFAULT_STEPS)


@dataclass(frozen=True)
class RankConfig(TrainConfig):
    """Ranking templates takes the options of training that say what is scored (RANKED)."""

    rows: int = option(32, "Rows to score.", POSITIVE, "Data")


RANKED = """
    dataset dataset_path dataset_subset dataset_split dataset_option field encoding map labels
    allow_dropped template rows max_seq_length model load_in_4bit seed plugin
    settings plugin_errors
    per_device_train_batch_size
""".split()


@dataclass(frozen=True)
class InferConfig(DataConfig):
    prompt: str = option(None, "The question; without it, --file or standard input.", argument=True)
    run: Path = option(
        None, "Run folder.", FilePath(path_type=Path), "Model", show_default="the latest run"
    )
    adapter: bool = option(
        True,
        "Ask with the adapter, or the bare base under the same prompt.",
        click.BOOL,
        "Model",
        switch=True,
    )
    model: str = option(
        None, "Base model: a folder or Hub id.", group="Model", show_default="the run's base"
    )
    input: str = option(None, "Input text that goes with the question (Alpaca).", group="Prompt")
    system: str = option(
        None, "System text instead of the run's own.", group="Prompt", show_default="the run's"
    )
    template: str = template_option("Prompt")
    force_template: bool = force_option("Prompt")
    max_new_tokens: int = option(256, "Longest answer in tokens.", POSITIVE, "Answer")
    temperature: float = option(
        0.0, "0 is greedy: the same answer every time.", FiniteRange(0, 2), "Answer"
    )
    seed: int = option(3407, "Seed of sampling.", SEED, "Answer")
    file: str = option(
        None, "Answer every row of a dataset: a file, a bundled name, or a Hub id.", group="Batch"
    )
    dataset: str | None = None  # --file is its flag here
    streaming: bool = False  # no option: every row is asked
    allow_dropped: float = 1.0  # nor this: what cannot be asked is said
    dataset_split: str = split_option("test")
    batch_size: int = option(8, "Rows answered at once.", POSITIVE, "Batch")
    run_plugins: bool = run_plugins_option()
    output: Path = option(
        None, "Write the answers as jsonl instead of to standard output.",
        FilePath(path_type=Path, dir_okay=False), "Batch",
    )  # fmt: skip


@dataclass(frozen=True)
class ExportConfig(Common):
    run: Path = option(
        None, "Run folder.", FilePath(path_type=Path), "What", show_default="the latest run"
    )
    template: str = template_option("What")
    force_template: bool = force_option("What")
    adapter: Path = option(
        None,
        "Write adapter, tokenizer and card to this folder.",
        FilePath(path_type=Path),
        "Where",
    )
    merged: Path = option(
        None, "Write a 16-bit checkpoint that plain transformers loads.",
        FilePath(path_type=Path), "Where",
    )  # fmt: skip
    merged_4bit: Path = option(
        None, "Write a 4-bit checkpoint (bitsandbytes NF4) that transformers loads.",
        FilePath(path_type=Path), "Where",
    )  # fmt: skip
    gguf: tuple = option(
        (), "Write a GGUF file of this type for llama.cpp: f16, bf16, q8_0, q4_0, q5_1, "
        "q4_k_m, ...; may be repeated.",
        group="Where", multiple=True, metavar="TYPE",
    )  # fmt: skip
    gguf_dir: Path = option(
        None, "Folder of the GGUF files.", FilePath(path_type=Path), "Where",
        show_default="RUN-gguf",
    )  # fmt: skip
    ollama: Path = option(
        None, "Write a folder for `ollama create`: a GGUF file (--gguf, or q8_0) and a Modelfile.",
        FilePath(path_type=Path), "Where",
    )  # fmt: skip
    format: tuple = option(
        (), "Write a format that a plugin adds: NAME=DIR.", Pair(), "Where", multiple=True
    )
    push: str = option(
        None, "Push to the Hub as user/model: what --merged, --merged-4bit or --gguf writes, the "
        "first of them, else the adapter.",
        group="Where",
    )  # fmt: skip
    private: bool = option(
        False, "Make a new Hub repository private.", click.BOOL, "Where", is_flag=True
    )
    revision: str = option(None, "Branch of the Hub repository to push to.", group="Where")
    create_pr: bool = option(False, "Push as a pull request.", click.BOOL, "Where", is_flag=True)
    verify: bool = option(
        True, "Load what was written and compare it with base and adapter.", click.BOOL, "Where",
        switch=True,
    )  # fmt: skip
    force: bool = option(
        False, "Push even what the comparison found wrong.", click.BOOL, "Where", is_flag=True
    )
    base: str = option(
        None, "Base weights to merge into: a folder or Hub id.", group="Merge",
        show_default="the run's base in 16 bits",
    )  # fmt: skip
    base_weights: str = option(
        None,
        "Merge into the weights that a 4-bit run was trained on, or into their 16-bit original.",
        click.Choice(["dequantized", "16bit"]),
        "Merge",
        show_default="dequantized, where the run's base had 4 bits",
    )
    dtype: str = option(
        None, "Type of the merged weights.", click.Choice(["bfloat16", "float16", "float32"]),
        "Merge", show_default="the base's own",
    )  # fmt: skip
    run_plugins: bool = run_plugins_option()
    max_shard_size: float = option(5, "Largest shard, as 5 or 5GB, or 200MB.", Gigabytes(), "Merge")
