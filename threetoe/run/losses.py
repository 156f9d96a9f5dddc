"""The losses of a training, as metrics.jsonl in its run folder has them."""

import math
from pathlib import Path

from threetoe.machine.records import read_lines
from threetoe.run.fields import Point
from threetoe.run.record import LOSS

PNG = b"\x89PNG\r\n\x1a\n"  # what a file of this kind begins with
KEPT = ("step", "loss", "eval_loss", "learning_rate")
LEVELS = "▁▂▃▄▅▆▇█"
SMOOTH = 20  # steps of the running mean, at most


def read_points(path: Path) -> list[dict]:
    """{"step", "loss", "learning_rate"} and {"step", "eval_loss"} of a metrics.jsonl; none where
    it is missing."""
    rows = read_lines(path, Point)
    rows = [r | {"eval_loss": r.get("eval_sample_loss", r.get("eval_loss"))} for r in rows]
    kept = [{k: r[k] for k in KEPT if is_finite(r.get(k))} for r in rows]
    return [point for point in kept if {"loss", "eval_loss"} & point.keys()]


def is_finite(value) -> bool:
    return value is not None and math.isfinite(value)


def picture_in(run: Path, name: str = LOSS) -> Path | None:
    """A run's picture, of its losses or another, to be shown or published, if it has one: in a
    folder of somebody else's the name may be a link to a file that is nobody's business."""
    path = run / name
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return path if file.read(len(PNG)) == PNG else None


def means_of(losses: list[float]) -> tuple[list[float], int]:
    """The mean of each loss with its neighbours, and of how many steps it is; 1 where they are
    few."""
    width = min(SMOOTH, len(losses) // 5)
    width = width if width >= 3 else 1
    before, after = width // 2, width - width // 2
    places = range(len(losses))
    return [mean(losses[max(0, n - before) : n + after]) for n in places], width


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def ends(points: list[dict]) -> tuple[float, float] | None:
    """The losses at both ends, as means of so many steps as means_of takes; None without any."""
    losses = [point["loss"] for point in points if "loss" in point]
    _, width = means_of(losses)
    return (mean(losses[:width]), mean(losses[-width:])) if losses else None


def said(points: list[dict]) -> str:
    """'3.2110 -> 0.4520 (means of 12 steps)'; '' where no step has a loss."""
    if not (both := ends(points)):
        return ""
    _, width = means_of([point["loss"] for point in points if "loss" in point])
    of_steps = f" (means of {width} steps)" * (width > 1)
    return f"{both[0]:.4f} -> {both[1]:.4f}{of_steps}"


def sparkline(losses, cells: int, low: float | None = None, high: float | None = None) -> str:
    """How they went from the first to the last in so many letters at most, ▇▄▂▁; between two
    losses, or from the lowest letter to the highest. What is no number is left out."""
    import numpy

    finite = numpy.array(losses)
    finite = finite[numpy.isfinite(finite)]
    parts = numpy.array_split(finite, min(cells, len(finite)) or 1)
    means = numpy.array([part.mean() for part in parts if len(part)])
    low = min(means, default=0) if low is None else low
    high = max(means, default=0) if high is None else high
    heights = (means - low) / ((high - low) or 1) * (len(LEVELS) - 1)
    return "".join(LEVELS[place] for place in heights.round().astype(int))
