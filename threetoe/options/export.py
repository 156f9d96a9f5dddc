"""The options of export.py, as config.py has those of training."""

from dataclasses import dataclass
from pathlib import Path

import click

from threetoe.options.shared import Common, force_option, run_plugins_option, template_option
from threetoe.options.types import PATH, PLACE, Gigabytes, Pair, option


@dataclass(frozen=True)
class ExportConfig(Common):
    """What export.py is asked."""

    run: Path = option(None, "Run folder.", PATH, "What", show_default="the latest run")
    template: str = template_option("What")
    force_template: bool = force_option("What")
    adapter: Path = option(None, "Write adapter, tokenizer and card to this folder.", PATH, "Where")
    merged: Path = option(
        None, "Write a 16-bit checkpoint that plain transformers loads.", PATH, "Where"
    )
    merged_4bit: Path = option(
        None, "Write a 4-bit checkpoint (bitsandbytes NF4) that transformers loads.", PATH, "Where"
    )
    gguf: tuple = option(
        (), "Write a GGUF file of this type for llama.cpp: f16, bf16, q8_0, q4_0, q5_1, "
        "q4_k_m, ...; may be repeated.",
        group="Where", multiple=True, metavar="TYPE",
    )  # fmt: skip
    gguf_dir: Path = option(
        None, "Folder of the GGUF files.", PATH, "Where", show_default="RUN-gguf"
    )
    ollama: Path = option(
        None, "Write a folder for `ollama create`: a GGUF file (--gguf, or q8_0) and a Modelfile.",
        PATH, "Where",
    )  # fmt: skip
    format: tuple = option(
        (), "Write a format that a plugin adds: NAME=DIR.", Pair(), "Where", multiple=True
    )
    push: str = option(
        None, "Push to the Hub as user/model: what --merged, --merged-4bit or --gguf writes, the "
        "first of them, else the adapter.",
        group="Where",
    )  # fmt: skip
    private: bool = option(False, "Make a new Hub repository private.", group="Where")
    revision: str = option(None, "Branch of the Hub repository to push to.", group="Where")
    create_pr: bool = option(False, "Push as a pull request.", group="Where")
    verify: bool = option(
        True, "Load what was written and compare it with base and adapter.", group="Where"
    )
    force: bool = option(False, "Push even what the comparison found wrong.", group="Where")
    base: str = option(
        None, "Base weights to merge into: a folder or Hub id.", PLACE, "Merge",
        show_default="the run's base in 16 bits",
    )  # fmt: skip
    base_weights: str = option(
        None,
        "Merge into the weights that a 4-bit run was trained on, or into their 16-bit original.",
        click.Choice(["dequantized", "16bit"]), "Merge",
        show_default="dequantized, where the run's base had 4 bits",
    )  # fmt: skip
    dtype: str = option(
        None, "Type of the merged weights.", click.Choice(["bfloat16", "float16", "float32"]),
        "Merge", show_default="the base's own",
    )  # fmt: skip
    rounding: str = option(
        "stochastic", "How weights that the adapter changes become 16 bits: by chance in "
        "proportion, which keeps changes below half a step, or to the nearest, as PEFT does.",
        click.Choice(["stochastic", "nearest"]), "Merge",
    )  # fmt: skip
    run_plugins: bool = run_plugins_option()
    max_shard_size: float = option(5, "Largest shard, as 5 or 5GB, or 200MB.", Gigabytes(), "Merge")
