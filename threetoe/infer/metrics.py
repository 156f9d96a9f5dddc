"""The figures of an evaluation: answers beside expected texts, one number a metric."""

import json
import os
from pathlib import Path

from threetoe.errors import PluginError
from threetoe.hooks.calls import Owned
from threetoe.machine.files import write_json
from threetoe.machine.terminal import say
from threetoe.run.record import EVALUATIONS, METRICS
from threetoe.run.score.metrics import EXACT
from threetoe.run.score.score import score


def evaluate(functions: dict[str, Owned], pairs: list, config, run: Path) -> None:
    """Say the figures of (answer, expected) pairs, and keep them beside --output. The answers are
    written by now, and so are the good figures when PluginError names the metrics that failed."""
    answers, expected = map(list, zip(*pairs, strict=True))
    scores, problems = score(functions, answers, expected, full=False)
    figures = scores.metrics
    show(figures, len(answers))
    about = {"run": str(run), "adapter": config.adapter, "file": config.file}
    if not Path(config.file).is_file():
        about["split"] = config.dataset_split
    note(run, {**about, "answers": len(answers), "metrics": figures})
    if config.output:
        keep(place_beside(config.output), {**about, "answers": len(answers), "metrics": figures})
    if problems:
        raise PluginError(*problems)


def show(figures: dict[str, float], answers: int) -> None:
    """The share that is exactly right as a sentence, then a line each of the others."""
    right = round(figures[EXACT] * answers)
    say(f"{right} of {answers} exactly right ({100 * figures[EXACT]:.1f} %)")
    others = {name: value for name, value in figures.items() if name != EXACT}
    width = max(map(len, others), default=0)
    for name, value in others.items():
        say(f"{name.ljust(width)}  {value:.4g}")


def note(run: Path, figures: dict) -> None:
    """Add figures to the run folder, where the model card finds them; an export has no such list,
    a folder that cannot be written keeps its own, and a link leads to another's file."""
    place = run / EVALUATIONS
    if place.is_symlink():
        say(f"{place} is a link, so the figures are not noted there")
    elif (run / METRICS).exists() and os.access(run, os.W_OK):
        figures = {k: v for k, v in figures.items() if k != "run"}
        with place.open("a", encoding="utf-8") as file:
            file.write(json.dumps(figures, ensure_ascii=False) + "\n")


def place_beside(output: Path) -> Path:
    """Where the figures of an output file are kept: answers.metrics.json for answers.jsonl."""
    return output.with_name(f"{output.stem}.metrics.json")


def keep(path: Path, figures: dict) -> None:
    write_json(path, figures)
    say(f"figures kept in {path}")
