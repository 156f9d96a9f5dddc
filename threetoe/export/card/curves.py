"""Draws training.png: the loss of each step, and the validation loss where there is one."""

import json
import logging
from pathlib import Path

from threetoe.data.chart import BLUE, DARK, GREY, PALE, RED

SMOOTH = 20  # steps of the running mean, at most


def read_points(path: Path) -> list[dict]:
    """{"step", "loss"} and {"step", "eval_loss"} of a metrics.jsonl; none where it is missing."""
    if not path.is_file():
        return []
    rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    rows = [r | {"eval_loss": r.get("eval_sample_loss", r.get("eval_loss"))} for r in rows]
    kept = [{k: r[k] for k in ("step", "loss", "eval_loss") if r.get(k) is not None} for r in rows]
    return [point for point in kept if len(point) > 1]


def draw(path: Path, points: list[dict]) -> bool:
    """Write the curves as PNG; False where matplotlib is missing, and nothing is written."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        if error.name.split(".")[0] != "matplotlib":
            raise
        return False
    figure = Figure(figsize=(7.2, 3.8), dpi=110, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    place = figure.subplots()
    place.spines[["top", "right"]].set_visible(False)
    place.tick_params(length=0, colors=GREY)
    draw_loss(place, [(p["step"], p["loss"]) for p in points if "loss" in p])
    draw_validation(place, [(p["step"], p["eval_loss"]) for p in points if "eval_loss" in p])
    place.set_xlabel("step", color=GREY, fontsize=9)
    place.set_title("Loss", loc="left", fontsize=11)
    place.xaxis.get_major_locator().set_params(integer=True)
    place.legend(frameon=False, fontsize=9)
    canvas.print_png(path)
    return True


def draw_loss(place, points: list[tuple]) -> None:
    """The loss of each step, pale, under its running mean where there are many."""
    if not points:
        return
    steps, losses = zip(*points, strict=True)
    width = min(SMOOTH, len(losses) // 5)
    if width < 3:
        place.plot(steps, losses, color=BLUE, lw=1.6, label="training")
        return
    place.plot(steps, losses, color=PALE, lw=1, label="training, each step")
    means = [
        sum(losses[max(0, n - width + 1) : n + 1]) / min(width, n + 1) for n in range(len(losses))
    ]
    place.plot(steps, means, color=BLUE, lw=1.6, label=f"mean of {width} steps")


def draw_validation(place, points: list[tuple]) -> None:
    """The validation loss, its lowest named."""
    if not points:
        return
    steps, losses = zip(*points, strict=True)
    place.plot(steps, losses, color=RED, lw=1.6, marker="o", ms=4, label="validation")
    step, lowest = min(points, key=lambda point: point[1])
    place.annotate(
        f"{lowest:.4g}", (step, lowest), (0, -12), textcoords="offset points", ha="center",
        va="top", color=DARK, fontsize=9,
    )  # fmt: skip
    place.margins(y=0.15)
