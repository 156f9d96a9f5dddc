"""The options of infer.py, as config.py has those of training."""

from dataclasses import dataclass, fields
from pathlib import Path

import click

from threetoe.options.shared import (
    DataConfig,
    force_option,
    run_plugins_option,
    split_option,
    template_option,
)
from threetoe.options.types import (
    AUTO,
    FILE,
    MOST,
    PATH,
    PLACE,
    POSITIVE,
    SEED,
    FiniteRange,
    NumberOrAuto,
    WholeRange,
    Words,
    option,
)


@dataclass(frozen=True)
class InferConfig(DataConfig):
    """What infer.py is asked."""

    prompt: str = option(
        None, "The question; without it --file, standard input, or at a terminal a conversation.",
        argument=True,
    )  # fmt: skip
    chat: bool = option(
        False, "Talk: several turns, with commands that /help lists.", group="Prompt"
    )
    run: Path = option(
        (), "Run folder; or an adapter, a merged model or a base, in a folder or on the Hub; or a "
        ".gguf file. Several answer side by side.",
        PATH, "Model", multiple=True, show_default="the latest run",
    )  # fmt: skip
    runs: tuple = ()  # of several --run all; `run` is the first
    load_in_4bit: bool = option(
        None, "Load the base, or merged model, in 4 bits (NF4), or in 16.", click.BOOL, "Model",
        switch=True, show_default="what the run trained with",
    )  # fmt: skip
    adapter: bool = option(
        True, "Ask with the adapter, or the bare base under the same prompt.", group="Model"
    )
    compare_base: bool = option(
        False, "Ask the bare base too, and say what differs.", group="Model"
    )  # fmt: skip
    model: str = option(
        None, "Base model: a folder or Hub id.", PLACE, "Model", show_default="the run's base"
    )
    web: bool = option(
        False, "Show a page on which base and run answer side by side.", group="Page"
    )  # fmt: skip
    serve: bool = option(
        False, "Serve the run as OpenAI's API does, by vLLM, llama.cpp or transformers.",
        group="Page",
    )  # fmt: skip
    host: str = option("127.0.0.1", "Address that page or server listen on.", group="Page")
    port: int = option(7860, "Port that page or server listen on.", WholeRange(1, 65_535), "Page")
    share: bool = option(
        False, "Give the page a public address, through Gradio's servers.", group="Page"
    )  # fmt: skip
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
    top_p: float = option(
        None, "Sample from the likeliest tokens that together have this probability.",
        FiniteRange(0, 1, min_open=True), "Answer",
    )  # fmt: skip
    top_k: int = option(None, "Sample from this many of the likeliest tokens.", POSITIVE, "Answer")
    min_p: float = option(
        None, "Sample from tokens at least this likely, as a share of the likeliest one's "
        "probability.",
        FiniteRange(0, 1, min_open=True), "Answer",
    )  # fmt: skip
    repetition_penalty: float = option(
        1.0, "Divides the score of what has been said before; 1 is none.",
        FiniteRange(0, 100, min_open=True), "Answer",
    )  # fmt: skip
    n: int = option(1, "Answers to each question, with a temperature.", POSITIVE, "Answer")
    stop: tuple = option(
        (), "A text that ends an answer, besides the template's own; may be repeated.",
        group="Answer", multiple=True,
    )  # fmt: skip
    constrain_to: tuple = option(
        (), "Answer with one of these, and say how likely each is: Positive,Negative.", Words(),
        "Answer",
    )  # fmt: skip
    seed: int = option(3407, "Seed of sampling.", SEED, "Answer")
    file: str = option(
        None, "Answer every row of a dataset: a file, a bundled name, or a Hub id.", PLACE, "Batch"
    )
    dataset: tuple = ()  # --file is its flag here
    streaming: bool = False  # no option: every row is asked
    allow_dropped: float = 1.0  # nor this: what cannot be asked is said
    dataset_split: str = split_option("test")
    evaluate: bool = option(
        False, "Score the answers in full, and keep them with the run.", group="Batch"
    )  # fmt: skip
    blind: int = option(
        None, "Then show so many pairs of base and run unnamed, and count which one you prefer.",
        POSITIVE, "Batch",
    )  # fmt: skip
    batch_size: int = option(
        AUTO, "Rows answered at once; auto: as memory allows.", NumberOrAuto(1, MOST), "Batch"
    )
    equal_lengths: bool = False  # no option: for a model that padding misleads
    run_plugins: bool = run_plugins_option()
    output: Path = option(
        None,
        "File for the answers, in the order of the questions: jsonl, json, csv, parquet.",
        FILE,
        "Batch",
    )

    def __post_init__(self):
        if isinstance(self.run, tuple):
            first, runs = next(iter(self.run), None), self.run if len(self.run) > 1 else ()
            vars(self).update(run=first, runs=runs)


def answering(config: InferConfig) -> dict:
    """The options on which an answer depends, by name."""
    return {
        f.name: getattr(config, f.name)
        for f in fields(config)
        if f.metadata.get("group") in ("Prompt", "Model", "Answer", "Plugins") and f.name != "run"
    }
