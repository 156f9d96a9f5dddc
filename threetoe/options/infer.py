"""The options of infer.py, as config.py has those of training."""

from dataclasses import dataclass
from pathlib import Path

from threetoe.options.shared import (
    DataConfig,
    force_option,
    run_plugins_option,
    split_option,
    template_option,
)
from threetoe.options.types import FILE, PATH, PLACE, POSITIVE, SEED, FiniteRange, option


@dataclass(frozen=True)
class InferConfig(DataConfig):
    """What infer.py is asked."""

    prompt: str = option(None, "The question; without it, --file or standard input.", argument=True)
    run: Path = option(None, "Run folder.", PATH, "Model", show_default="the latest run")
    adapter: bool = option(
        True, "Ask with the adapter, or the bare base under the same prompt.", group="Model"
    )
    model: str = option(
        None, "Base model: a folder or Hub id.", PLACE, "Model", show_default="the run's base"
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
        None, "Answer every row of a dataset: a file, a bundled name, or a Hub id.", PLACE, "Batch"
    )
    dataset: tuple = ()  # --file is its flag here
    streaming: bool = False  # no option: every row is asked
    allow_dropped: float = 1.0  # nor this: what cannot be asked is said
    dataset_split: str = split_option("test")
    batch_size: int = option(8, "Rows answered at once.", POSITIVE, "Batch")
    run_plugins: bool = run_plugins_option()
    output: Path = option(
        None, "Write the answers as jsonl instead of to standard output.", FILE, "Batch"
    )
