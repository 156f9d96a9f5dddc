"""Every option of training, once: its name, default, range, group and help.

A field's name is the flag's name (lora_r is --lora-r) and the key in a --config file.
Names and meanings are those of transformers, TRL and PEFT wherever they have one.
"""

from dataclasses import dataclass, field, fields
from pathlib import Path
from time import monotonic

import click

from threetoe.machine import processes
from threetoe.options.schedule import ScheduleConfig
from threetoe.options.shared import split_option
from threetoe.options.types import (
    AUTO,
    MOST,
    PATH,
    PLACE,
    POSITIVE,
    SEED,
    FiniteRange,
    Moment,
    NumberOrAuto,
    Share,
    WholeRange,
    option,
)
from threetoe.options.watch import WatchConfig

ROWS = 4  # a forward pass
DEFAULT_STEPS = 60  # without --max-steps and --num-train-epochs

RANKED = """
    dataset dataset_path dataset_subset dataset_split dataset_option field encoding map labels
    instruction max_samples
    allow_dropped template rows max_seq_length model load_in_4bit seed plugin
    settings
""".split()


def options_of(config) -> dict:
    """The options of a configuration as plain JSON values, problems left out."""
    values = {f.name: getattr(config, f.name) for f in fields(config) if "help" in f.metadata}
    return {name: str(v) if isinstance(v, Path) else v for name, v in values.items()}


@dataclass(frozen=True)
class TrainConfig(WatchConfig, ScheduleConfig):
    """What train.py is asked, and run.json records."""

    dataset_split: str = split_option("train")
    val_size: str = option(
        None, "Rows kept out of training to measure the loss on: a share such as 0.1, or a number.",
        Share(), "Data",
    )  # fmt: skip
    val_split: str = option(
        None, "Split to measure the loss on, instead of --val-size.", group="Data"
    )
    val_dataset: str = option(
        None, "Dataset to measure the loss on, instead of --val-size.", PLACE, "Data"
    )
    template: str = option(
        None,
        "Prompt template: a name (python -m threetoe templates), a .yaml file, or from-tokenizer: "
        "the base's own chat template.",
        PLACE, "Data", show_default="alpaca; plain where all rows are whole texts",
    )  # fmt: skip
    train_on_inputs: bool = option(
        False, "Learn the prompt too, not the answer alone.", group="Data"
    )
    train_on: str = option(
        "all", "Answers of a conversation that are learned: all, or the last alone.",
        click.Choice(["all", "last"]), "Data",
    )  # fmt: skip
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
        2048, "Longest row in tokens; longer rows are cut.", WholeRange(8, MOST), "Data"
    )

    output_dir: Path = option(
        None, "Run folder to write.", PATH, "Training", show_default="runs/DATASET-TEMPLATE"
    )
    eval_steps: int = option(
        None, "Steps between losses on validation rows.", POSITIVE, "Training",
        show_default="a tenth of the training, or more for a tenth of its time at most",
    )  # fmt: skip
    eval_rows: int = option(
        None, "Validation rows measured between the start and the end, where it is all.", POSITIVE,
        "Training", show_default="128",
    )  # fmt: skip
    push_to: str = option(
        None, "Where export.py will push, user/model: token and permission are checked first.",
        group="Training",
    )  # fmt: skip
    per_device_train_batch_size: int = option(
        ROWS, f"Rows a forward pass; auto: what fits of {ROWS} x --gradient-accumulation-steps.",
        NumberOrAuto(1, MOST), "Training",
    )  # fmt: skip
    gradient_accumulation_steps: int = option(
        4, "Forward passes an optimizer step.", POSITIVE, "Training"
    )
    num_train_epochs: float = option(
        None, "Passes over the data, instead of --max-steps.",
        FiniteRange(0, 10**6, min_open=True), "Training",
    )  # fmt: skip
    max_steps: int = option(
        None, "Optimizer steps.", POSITIVE, "Training",
        show_default=f"{DEFAULT_STEPS}, unless epochs or a time are given",
    )  # fmt: skip
    max_hours: float = option(
        None, "Train as many steps as fit into this time, validation and --then included; "
        "--max-steps or --num-train-epochs are then the most. 0.75 is 45 minutes.",
        FiniteRange(0, 10**4, min_open=True), "Training",
    )  # fmt: skip
    finish_by: str = option(
        None, "The same, until a time of this machine's clock: 14:30, or 2030-01-31T14:30+01:00.",
        Moment(), "Training",
    )  # fmt: skip
    then: str = option(
        None, 'What follows in the same session when the training has ended well, checked before '
        'it: --then "export --merged my-model".', group="Training",
    )  # fmt: skip
    save_steps: int = option(
        None, "Steps between checkpoints, from which the same command continues after a kill.",
        POSITIVE, "Training", show_default="two minutes, and at least three a run",
    )  # fmt: skip
    save_total_limit: int = option(2, "Checkpoints that are kept.", POSITIVE, "Training")
    resume: str = option(
        "auto", "auto continues an unfinished run in --output-dir from its latest whole "
        "checkpoint; never starts anew; or the folder of a checkpoint.", group="Training",
    )  # fmt: skip
    resume_anyway: bool = option(
        False, "Continue with other versions of libraries or plugins than it was begun with.",
        group="Training",
    )  # fmt: skip
    mirror: str = option(
        None, "What gets a copy of each checkpoint, and of the run: a folder, such as a mounted "
        "Drive, or hub:user/model, a private branch there; the same command continues from it on "
        "a new machine.", PLACE, "Training",
    )  # fmt: skip
    overwrite: bool = option(False, "Replace the finished run in --output-dir.", group="Training")
    seed: int = option(3407, "Seed of the order, the adapter and dropout.", SEED, "Training")

    preview: int = option(
        0, "Print N rows as the model will see them and stop; no weights are loaded.",
        WholeRange(0, MOST), "Look first", show_default=False,
    )  # fmt: skip
    dry_run: bool = option(
        False, "Print what would be trained and stop; no weights are loaded.", group="Look first"
    )
    save_config: Path = option(
        None, "Write all options, those that were chosen too, as a file for --config.", PATH,
        "Look first",
    )  # fmt: skip
    rehearse: bool = option(
        False, "Go all the way, export included, with a small random model of the base's kind, in "
        "a minute or so, and say what is wrong; nothing is kept.", group="Look first",
    )  # fmt: skip
    token_rows: tuple | None = None  # TokenRows, once --new-tokens has found them
    began: float = field(default_factory=monotonic, compare=False)  # what --max-hours counts from
    after: float = 0.0  # seconds that --then will take

    @property
    def is_timed(self) -> bool:
        return bool(self.max_hours or self.finish_by)

    @property
    def steps(self) -> int | None:
        """Optimizer steps, at most where the training is timed; None where --num-train-epochs
        decides."""
        usual = MOST if self.is_timed else DEFAULT_STEPS
        return self.max_steps or (None if self.num_train_epochs else usual)

    @property
    def rows_a_step(self) -> int:
        """The effective batch, which stays as it is however many rows pass at a time; of all
        processes together."""
        rows = self.per_device_train_batch_size
        each = (ROWS if rows == AUTO else rows) * self.gradient_accumulation_steps
        return each * processes.count()


@dataclass(frozen=True)
class RankConfig(TrainConfig):
    """What `templates rank` is asked: the options of training that RANKED names, and rows."""

    rows: int = option(32, "Rows to score.", POSITIVE, "Data")
