"""Draws a confusion matrix: how often each label was answered, and with what."""

from pathlib import Path

from threetoe.machine.figure import BLUE, DARK, GREY, fonts_for, new_figure, save
from threetoe.machine.terminal import visible
from threetoe.run.score.score import Scores
from threetoe.run.score.table import short

SHOWN = 24  # labels with a line of their own
CELL = 0.45  # inches


def draw(path: Path, sides: dict[str, Scores], title: str) -> bool:
    """Write the matrices of one model, or of base and run side by side, as PNG; whether there are
    any: answers that are no labels have none, and matplotlib may be missing."""
    (*_, last) = sides.values()
    size = CELL * (min(len(last.labels), SHOWN + 1) + 1)  # of a matrix, with what is no label
    wide = (max(size, 2) + 1.6) * len(sides)
    if not last.labels or not (figure := new_figure(wide, max(size, 1) + 1.7)):
        return False
    rest = len(last.labels) - SHOWN
    names = [short(visible(label)) or "(empty)" for label in list(last.labels)[:SHOWN]]
    names = [*names, *[f"{rest} more"] * (rest > 0), "(other)"]
    fonts, lacking = fonts_for([*names, title])
    names = [f"label {n}" if lacking & set(name) else name for n, name in enumerate(names, 1)]
    shown = figure.subplots(1, len(sides), squeeze=False)[0]
    for place, (model, scores) in zip(shown, sides.items(), strict=True):
        draw_one(place, folded(scores.confusion), names, fonts)
        place.set_title(f"{model}: {scores.metrics['accuracy']:.1%} right", fontsize=10)
    figure.suptitle("" if lacking & set(title) else title, fontsize=10, fontfamily=fonts)
    save(figure, path)
    return True


def folded(counts: list[list[int]]) -> list[list[int]]:
    """The counts with all labels beyond SHOWN as one, in lines and columns alike."""
    if len(counts) <= SHOWN:
        return counts
    lines = [[*line[:SHOWN], sum(line[SHOWN:-1]), line[-1]] for line in counts]
    return [*lines[:SHOWN], [sum(column) for column in zip(*lines[SHOWN:], strict=True)]]


def draw_one(place, counts: list[list[int]], names: list[str], fonts: list[str]) -> None:
    """A line an expected label; the bluer a field, the larger its share of the line."""
    from matplotlib.colors import LinearSegmentedColormap

    shares = [[count / max(sum(line), 1) for count in line] for line in counts]
    place.imshow(shares, LinearSegmentedColormap.from_list("", ["white", BLUE]), vmin=0, vmax=1)
    for y, line in enumerate(counts):
        for x, count in enumerate(line):
            colour = "white" if shares[y][x] > 0.6 else DARK
            if count:
                place.text(x, y, f"{count:,}", ha="center", va="center", color=colour, fontsize=8)
    upright = len(names) > 4 or max(map(len, names)) > 9
    told = {"fontsize": 8, "fontfamily": fonts, "color": DARK}
    place.set_xticks(range(len(names)), names, rotation=90 * upright, **told)
    place.set_yticks(range(len(counts)), names[:-1], **told)
    place.set_xlabel("answered", color=GREY, fontsize=9)
    place.set_ylabel("expected", color=GREY, fontsize=9)
    place.tick_params(length=0)
    place.spines[:].set_color(GREY)
