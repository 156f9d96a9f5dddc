"""The losses of a training, as metrics.jsonl in its run folder has them."""

from pathlib import Path

from threetoe.machine.records import read_lines
from threetoe.run.fields import Point
from threetoe.run.record import LOSS

PNG = b"\x89PNG\r\n\x1a\n"  # what a file of this kind begins with
SMOOTH = 20  # steps of the running mean, at most


def read_points(path: Path) -> list[dict]:
    """{"step", "loss"} and {"step", "eval_loss"} of a metrics.jsonl; none where it is missing."""
    rows = read_lines(path, Point)
    rows = [r | {"eval_loss": r.get("eval_sample_loss", r.get("eval_loss"))} for r in rows]
    kept = [{k: r[k] for k in ("step", "loss", "eval_loss") if r.get(k) is not None} for r in rows]
    return [point for point in kept if len(point) > 1]


def picture_in(run: Path) -> Path | None:
    """A run's picture of its losses, to be shown or published, if it has one: in a folder of
    somebody else's the name may be a link to a file that is nobody's business."""
    path = run / LOSS
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return path if file.read(len(PNG)) == PNG else None


def means_of(losses: list[float]) -> tuple[list[float], int]:
    """The running mean of the losses of all steps, and of how many steps it is; 1 where they are
    few."""
    width = min(SMOOTH, len(losses) // 5)
    width = width if width >= 3 else 1
    places = range(len(losses))
    return [mean(losses[max(0, n - width + 1) : n + 1]) for n in places], width


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def said(points: list[dict]) -> str:
    """'loss 3.2110 -> 0.4520 (means of 12 steps)'; '' where no step has a loss."""
    losses = [point["loss"] for point in points if "loss" in point]
    if not losses:
        return ""
    _, width = means_of(losses)
    of_steps = f" (means of {width} steps)" * (width > 1)
    return f"loss {mean(losses[:width]):.4f} -> {mean(losses[-width:]):.4f}{of_steps}"
