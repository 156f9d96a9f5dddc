"""Options of what is seen of a training while it runs, and of when it ends."""

from dataclasses import dataclass
from pathlib import Path

from threetoe.options.shared import DataConfig
from threetoe.options.types import FILE, POSITIVE, Among, option

TRACKERS = ("tensorboard", "wandb", "trackio")
GROUP = "Watching"


@dataclass(frozen=True)
class WatchConfig(DataConfig):
    """What train.py is asked to show, measure and keep."""

    logging_steps: int = option(1, "Steps between the losses that are told.", POSITIVE, GROUP)
    report_to: tuple = option(
        (), "Where the losses go beside metrics.jsonl; several with commas between.",
        Among(*TRACKERS), GROUP, show_default="nowhere",
    )  # fmt: skip
    run_name: str = option(
        None, "The run's name there.", group=GROUP, show_default="that of its folder"
    )
    sample_steps: int = option(
        None, "Ask a few prompts before the first step, every so many steps, and after the last.",
        POSITIVE, GROUP,
    )  # fmt: skip
    sample_prompts: Path = option(
        None, "A text file with one of these prompts a line.", FILE, GROUP,
        show_default="three short rows of the validation, or else of the training",
    )  # fmt: skip
    metrics: bool = option(
        False, "Answer the measured validation rows too, and judge the answers: accuracy, macro-F1 "
        "and a table where they are labels, else chrF and ROUGE-L; and plugins' metrics.",
        group=GROUP,
    )  # fmt: skip
    metric_for_best_model: str = option(
        "loss", "What the best step is judged by: loss, or a metric, such as accuracy.", group=GROUP
    )
    early_stopping_patience: int = option(
        None, "End the training when so many validations in a row were no better than the best.",
        POSITIVE, GROUP,
    )  # fmt: skip
    load_best_model_at_end: bool = option(
        False, "Save the adapter of the step with the best validation.", group=GROUP
    )
