"""Curves as SVG paths in a square of 100 x 100, which the page stretches to its own width; the
numbers along its sides are texts of the page, so that a phone shows them as large.
"""

import math
from typing import NamedTuple

from threetoe.run.losses import mean, means_of

MOST = 500  # points of a curve


class Plot(NamedTuple):
    """`curves` and `dots` are {name: the d of a path}; ticks are (percent of the way, text)."""

    curves: dict[str, str]
    dots: dict[str, str]
    across: list[tuple[float, str]]
    up: list[tuple[float, str]]
    mean_of: int = 1  # steps


def plot_losses(points: list[dict]) -> Plot | None:
    """The loss of each step, its running mean where there are many, and the validation losses."""
    steps = pairs(points, "loss")
    means, width = means_of([loss for _, loss in steps])
    smooth = [(step, loss) for (step, _), loss in zip(steps, means, strict=True)]
    drawn = {"mean": smooth} if width == 1 else {"steps": steps, "mean": smooth}
    made = plot(drawn | {"validation": pairs(points, "eval_loss")}, dotted=("validation",))
    return made and made._replace(mean_of=width)


def plot_rate(points: list[dict]) -> Plot | None:
    return plot({"rate": pairs(points, "learning_rate")}, most=2)


def pairs(points: list[dict], name: str) -> list[tuple]:
    return [(point["step"], point[name]) for point in points if name in point]


def plot(lines: dict[str, list[tuple]], dotted: tuple = (), most: int = 5) -> Plot | None:
    """Lines of (step, value) in one square, from 0 upwards where values are not far from it; None
    where there is no way between two points."""
    lines = {name: thinned(line) for name, line in lines.items() if line}
    flat = [point for line in lines.values() for point in line]
    steps, values = [step for step, _ in flat], [value for _, value in flat]
    if not flat or min(steps) == max(steps):
        return None
    low, high = min(values), max(values)
    low = 0 if 0 < low < 0.5 * high else low
    high = high if high > low else low + (abs(low) or 1)
    first, last = min(steps), max(steps)

    def place(step, value) -> str:
        x, y = (step - first) / (last - first), (value - low) / (high - low)
        return f"{100 * x:.2f},{100 - 100 * y:.2f}"

    return Plot(
        {name: "M" + " ".join(place(*point) for point in line) for name, line in lines.items()},
        {n: "".join(f"M{place(*point)}h0" for point in lines[n]) for n in dotted if n in lines},
        [(100 * (t - first) / (last - first), f"{t:,g}") for t in ticks(first, last, least=1)],
        [(100 * (t - low) / (high - low), f"{t:.10g}") for t in ticks(low, high, most)],
    )


def thinned(line: list[tuple]) -> list[tuple]:
    """At most MOST points, each the mean of as many neighbours."""
    size = math.ceil(len(line) / MOST)
    parts = (line[at : at + size] for at in range(0, len(line), size))
    return [(part[-1][0], mean([value for _, value in part])) for part in parts]


def ticks(low: float, high: float, most: int = 5, least: float = 0) -> list[float]:
    """Round numbers between two, so many steps from end to end at most, each at least so large."""
    unit = 10 ** math.floor(math.log10((high - low) / most))
    step = next(max(unit * m, least) for m in (1, 2, 5, 10) if high - low <= most * unit * m)
    return [step * n for n in range(math.ceil(low / step), math.floor(high / step) + 1)]
