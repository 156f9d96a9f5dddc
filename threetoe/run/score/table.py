"""Scores as lines of at most 80 columns: of one model, or of base and run side by side."""

from threetoe.machine.terminal import visible, width_of
from threetoe.run.score.score import SHARES, Scores

NAMES = {"macro_f1": "macro-F1", "chrf": "chrF", "rouge_l": "ROUGE-L"}
SHOWN = 20  # labels that have a line
NAME, SIDE, ROWS, OF_LABEL = 20, 24, 7, [11, 8, 7]  # columns of a name at most, of figures


def lines(sides: dict[str, Scores]) -> list[str]:
    """The figures, a share with its 95 % interval, then a line each of the labels."""
    names = dict.fromkeys(name for scores in sides.values() for name in scores.metrics)
    rows = [(NAMES.get(n, n), [figure(s, n) for s in sides.values()]) for n in names]
    return table([("", list(sides)), *rows], [SIDE] * len(sides)) + of_labels(sides)


def of_labels(sides: dict[str, Scores]) -> list[str]:
    """Precision, recall and F1 of each label that is expected anywhere, the most frequent first."""
    found = [scores.labels for scores in sides.values()]
    labels = [label for label, row in found[-1].items() if row["rows"]]
    if not labels:
        return []
    rows = [("label", ["rows", *["precision", "recall", "F1"] * len(sides)])]
    if len(sides) > 1:
        rows.insert(0, ("", ["", *(cell for name in sides for cell in ("", name, ""))]))
    for label in labels[:SHOWN]:
        figures = [f"{side[label][n]:.2f}" for side in found for n in ("precision", "recall", "f1")]
        rows.append((label or "(empty)", [f"{found[-1][label]['rows']:,}", *figures]))
    made = ["", *table(rows, [ROWS, *OF_LABEL * len(sides)])]
    return made + [f"{len(labels) - SHOWN} more labels"] * (len(labels) > SHOWN)


def figure(scores: Scores, name: str) -> str:
    value = scores.metrics.get(name)
    if value is None:  # it failed
        return "-"
    if name in SHARES:
        low, high = scores.intervals[name]
        return f"{value:.1%} ({100 * low:.1f} to {100 * high:.1f})"
    return f"{value:.4g}"


def table(rows: list[tuple], widths: list[int]) -> list[str]:
    """A line a row: its name, then cells of these widths, to the right."""
    names = [short(visible(name)) for name, _ in rows]
    wide = max(map(width_of, names))
    made = []
    for name, (_, cells) in zip(names, rows, strict=True):
        placed = [cell.rjust(width) for cell, width in zip(cells, widths, strict=True)]
        made.append((name + " " * (wide - width_of(name)) + "".join(placed)).rstrip())
    return made


def short(name: str) -> str:
    """A name in one line of at most NAME columns."""
    name = " ".join(name.split())
    if width_of(name) <= NAME:
        return name
    while width_of(name) >= NAME:
        name = name[:-1]
    return name + "…"
