"""Draws loss.png: the loss of each step, and the validation loss where there is one."""

from pathlib import Path

from threetoe.machine.figure import BLUE, DARK, GREY, LIGHT, PALE, RED, fonts_for, new_figure, save
from threetoe.run.losses import means_of


def draw(path: Path, points: list[dict], title: str) -> None:
    """Write the curves as PNG; nothing where matplotlib is missing, or there are no losses."""
    if len(points) < 2 or not (figure := new_figure(7.2, 3.8)):
        return
    place = axes_of(figure, title if title.isascii() else "Loss")
    draw_loss(place, [(p["step"], p["loss"]) for p in points if "loss" in p])
    draw_validation(place, [(p["step"], p["eval_loss"]) for p in points if "eval_loss" in p])
    place.legend(frameon=False, fontsize=9)
    save(figure, path)


def draw_together(path: Path, runs: dict[str, list[dict]]) -> bool:
    """Write the running means of several runs, and their validation losses dashed, as PNG; whether
    matplotlib is there."""
    if not (figure := new_figure(7.2, 4.4)):
        return False
    place, (fonts, lacking) = axes_of(figure, "Loss"), fonts_for(list(runs))
    for number, (name, points) in enumerate(runs.items(), 1):
        losses, measured = (
            [(p["step"], p[kind]) for p in points if kind in p] for kind in ("loss", "eval_loss")
        )
        means, width = means_of([loss for _, loss in losses])
        label = f"run {number}" if lacking & {*name} else name.lstrip("_")  # hidden, to matplotlib
        steps = [step for step, _ in losses]
        (line,) = place.plot(steps, means, lw=1.6, label=f"{label}, mean of {width} steps")
        if measured:
            told = {"lw": 1.2, "ls": "--", "color": line.get_color()}
            place.plot(*zip(*measured, strict=True), label=f"{label}, validation", **told)
    place.legend(frameon=False, prop={"family": fonts, "size": 9})
    save(figure, path)
    return True


def axes_of(figure, title: str):
    """An empty place for curves by step."""
    place = figure.subplots()
    place.spines[["top", "right"]].set_visible(False)
    place.tick_params(length=0, colors=GREY)
    place.grid(axis="y", color=LIGHT, lw=0.8)
    place.set_axisbelow(True)
    place.set_xlabel("step", color=GREY, fontsize=9)
    place.set_title(title, loc="left", fontsize=11)
    place.xaxis.get_major_locator().set_params(integer=True)
    return place


def draw_loss(place, points: list[tuple]) -> None:
    """The loss of each step, pale, under its running mean where there are many."""
    if not points:
        return
    steps, losses = zip(*points, strict=True)
    means, width = means_of(losses)
    if width > 1:
        place.plot(steps, losses, color=PALE, lw=1, label="training, each step")
    label = f"training, mean of {width} steps" if width > 1 else "training"
    place.plot(steps, means, color=BLUE, lw=1.6, label=label)


def draw_validation(place, points: list[tuple]) -> None:
    """The validation loss, its lowest named."""
    if not points:
        return
    steps, losses = zip(*points, strict=True)
    label = "validation" + ", step 0: the base" * (steps[0] == 0)
    place.plot(steps, losses, color=RED, lw=1.6, marker="o", ms=4, label=label)
    step, lowest = min(points, key=lambda point: point[1])
    place.annotate(
        f"{lowest:.4g}", (step, lowest), (0, -12), textcoords="offset points", ha="center",
        va="top", color=DARK, fontsize=9,
    )  # fmt: skip
    place.margins(y=0.15)
