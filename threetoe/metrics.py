"""The figures of an evaluation: answers beside expected texts, one number a metric."""

import math
from numbers import Integral, Real
from pathlib import Path

import click

from threetoe.errors import PluginError, UserError
from threetoe.hooks import Hooks, failure, kind, place_of
from threetoe.run import write_json

EXACT = "exact"


def exact(answers: list[str], expected: list[str]) -> float:
    """The share of answers that equal the expected text."""
    return sum(a == e for a, e in zip(answers, expected, strict=True)) / len(answers)


def registered(hooks: Hooks) -> dict:
    """Every metric by name; UserError for one that cannot be called."""
    found = hooks.merge("register_metrics")
    for name, function in found.items():
        if not callable(function):
            raise UserError(f"register_metrics: '{name}' is {kind(function)}, not a function.")
    return found


def evaluate(functions: dict, pairs: list[tuple[str, str]], config, run: Path) -> None:
    """Say the figures of (answer, expected) pairs, and keep them beside --output. The answers are
    written by now, and so are the good figures when the first metric that failed is raised."""
    answers, expected = map(list, zip(*pairs, strict=True))
    figures, errors = figures_of(functions, answers, expected)
    show(figures, len(answers))
    if config.output:
        about = {"run": str(run), "adapter": config.adapter, "file": config.file}
        if not Path(config.file).is_file():
            about["split"] = config.dataset_split
        keep(place_beside(config.output), {**about, "answers": len(answers), "metrics": figures})
    if errors:
        raise errors[0]


def figures_of(
    functions: dict, answers: list[str], expected: list[str]
) -> tuple[dict[str, float], list[PluginError]]:
    """The number of each metric by name, and what those raised that gave none."""
    figures, errors = {}, []
    for name, function in functions.items():
        try:
            figures[name] = figure(name, function, answers, expected)
        except PluginError as error:
            errors.append(error)
    return figures, errors


def figure(name: str, function, answers: list[str], expected: list[str]) -> float:
    """What a metric returns; PluginError, with its file and line, unless that is a number."""
    try:
        value = function(list(answers), list(expected))
    except Exception as error:
        raise failure(f"The metric '{name}' raised", function, error) from error
    if not isinstance(value, Real) or not math.isfinite(value):
        given = value if isinstance(value, float) else kind(value)
        raise PluginError(
            f"The metric '{name}' returned {given}, not a finite number. ({place_of(function)})"
        )
    return int(value) if isinstance(value, Integral) else float(value)


def show(figures: dict[str, float], answers: int) -> None:
    """The share that is exactly right as a sentence, then a line each of the others."""
    right = round(figures[EXACT] * answers)
    click.echo(f"{right} of {answers} exactly right ({100 * figures[EXACT]:.1f} %)", err=True)
    others = {name: value for name, value in figures.items() if name != EXACT}
    width = max(map(len, others), default=0)
    for name, value in others.items():
        click.echo(f"{name.ljust(width)}  {value:.4g}", err=True)


def place_beside(output: Path) -> Path:
    """Where the figures of an output file are kept: answers.metrics.json for answers.jsonl."""
    return output.with_name(f"{output.stem}.metrics.json")


def keep(path: Path, figures: dict) -> None:
    write_json(path, figures)
    click.echo(f"figures kept in {path}", err=True)
