"""Draws data.svg: how often each answer occurs, where they are few, and how long the rows are.

SVG, because its letters are drawn by whoever looks at it: labels may be in any script.
"""

import unicodedata
from collections import Counter
from html import escape
from pathlib import Path

from threetoe.data.ledger import short_label
from threetoe.machine.figure import BLUE, DARK, GREY, LIGHT, PALE, RED
from threetoe.machine.terminal import visible

BARS = 20
BINS = 40
FONT = "system-ui, 'Segoe UI', Helvetica, Arial, 'Noto Sans CJK SC', 'PingFang SC', sans-serif"
LINE, LETTER = 24, 7.4  # pixels: of a bar with its gap, of a letter at 13
TOP, PLOT = 44, 220  # pixels: above and of a plot
LINES = {
    "median": ("median", ""),
    "p95": ("95 % are at most", "7 4"),
    "longest": ("longest", "2 3"),
}


def histogram(lengths) -> dict:
    """{"edges", "counts"} of lengths in tokens, in bins of whole tokens, at most 41 from 0 on."""
    import numpy as np

    step = int(max(lengths)) // BINS + 1
    edges = np.arange(0, max(lengths) + step + 1, step)
    return {"edges": edges.tolist(), "counts": np.histogram(lengths, edges)[0].tolist()}


def draw(path: Path, ledger: dict) -> None:
    """Write a chart of a data ledger as SVG.

    `ledger["answers"]` is {text: count}, or empty; `ledger["lengths"]` has the edges and counts of
    a histogram of tokens a row, median, p95, longest and max_seq_length.
    """
    marks, left, height = [], 0, TOP + PLOT + 92
    if answers := ledger.get("answers"):
        marks, left, bottom = answer_bars(answers)
        height = max(height, bottom)
    marks += length_bars(ledger["lengths"], left + 64)
    size = f'width="{left + 700}" height="{height}" viewBox="0 0 {left + 700} {height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="{FONT}" font-size="13">'
    white = '<rect width="100%" height="100%" fill="white"/>'
    path.write_text("\n".join([head, white, *marks, "</svg>\n"]), encoding="utf-8")


def answer_bars(answers: dict[str, int]) -> tuple[list[str], int, int]:
    """(what is drawn, its width, its height): bars from the most frequent answer down."""
    bars = ranked(answers)
    column = 24 + min(round(LETTER * max(width_of(name) for name, _ in bars)), 420)
    most = max(count for _, count in bars)
    kinds = "1 answer" if len(answers) == 1 else f"{len(answers):,} different answers"
    marks = [words(16, 26, kinds, DARK, size=15)]
    for place, (name, count) in enumerate(bars):
        y, length = TOP + LINE * place, max(240 * count / most, 1)
        marks.append(words(column, y + 14, name, DARK, "end"))
        marks.append(rect(column + 8, y, length, LINE - 6, BLUE if place < BARS else PALE))
        share = f"{count:,} ({percent(count / sum(answers.values()))})"
        marks.append(words(column + 14 + length, y + 14, share))
    return marks, column + 360, TOP + LINE * len(bars) + 16


def ranked(answers: dict[str, int]) -> list[tuple[str, int]]:
    """(name, count) of each bar; the last stands for all answers that have none of their own."""
    pairs = Counter(answers).most_common()
    bars = [(visible(short_label(text)), count) for text, count in pairs[:BARS]]
    if rest := pairs[BARS:]:
        bars.append((f"{len(rest):,} more", sum(count for _, count in rest)))
    return bars


def length_bars(lengths: dict, left: int) -> list[str]:
    """A histogram, with lines at the median, the 95th percentile, the longest and the limit."""
    edges, counts, limit = lengths["edges"], lengths["counts"], lengths["max_seq_length"]
    is_near = limit <= 1.3 * lengths["longest"]  # or it would press the bars together
    end = max(edges[-1], limit if is_near else 0)
    first = edges[next(n for n, count in enumerate(counts) if count)]
    start = first if first > 0.3 * end and end - first >= 8 else 0
    wide, bottom = 590 / (end - start), TOP + PLOT

    def x(tokens: int) -> float:
        return left + wide * (tokens - start)

    marks = [words(left, 26, f"{sum(counts):,} rows", DARK, size=15)]
    for tick in ticks(0, max(counts)):
        y = bottom - PLOT * tick / max(counts)
        marks.append(line(left, y, left + 590, y, LIGHT))
        marks.append(words(left - 8, y + 4, tick, anchor="end"))
    for edge, after, count in zip(edges, edges[1:], counts, strict=False):
        tall = PLOT * count / max(counts)
        if count:
            marks.append(rect(x(edge), bottom - tall, wide * (after - edge) - 0.6, tall, BLUE))
    marks += [words(x(tick), bottom + 18, tick, anchor="middle") for tick in ticks(start, end)]
    drawn = [(f"--max-seq-length {limit:,}", limit, RED, "", 3)] * is_near
    for name, (said, dashes) in LINES.items():
        drawn.append((f"{said} {lengths[name]:,}", lengths[name], DARK, dashes, 1.5))
    place = left
    for said, tokens, colour, dashes, thick in drawn:
        marks.append(line(x(tokens), TOP - 6, x(tokens), bottom, colour, dashes, thick))
        marks.append(line(place, bottom + 66, place + 22, bottom + 66, colour, dashes, thick))
        marks.append(words(place + 28, bottom + 70, said, size=12))
        place += 46 + 6.4 * len(said)
    beyond = "" if is_near else f"; --max-seq-length {limit:,} is further right"
    return [*marks, words(left + 295, bottom + 42, f"tokens a row{beyond}", anchor="middle")]


def ticks(start: int, end: int) -> list[int]:
    """Four to ten round numbers between two."""
    step = next(s for n in range(12) for s in (10**n, 2 * 10**n, 5 * 10**n) if end - start <= 8 * s)
    return list(range(-(-start // step) * step, end + 1, step))


def width_of(name: str) -> int:
    """In letters; those of Chinese and its like are wider."""
    return sum(1.8 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in name)


def words(
    x: float, y: float, text, colour: str = GREY, anchor: str = "start", size: int = 13
) -> str:
    text = f"{text:,}" if isinstance(text, int) else escape(text)
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} fill="{colour}" font-size="{size}">{text}</text>'


def rect(x: float, y: float, wide: float, tall: float, colour: str) -> str:
    size = f'x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{tall:.1f}"'
    return f'<rect {size} fill="{colour}"/>'


def line(
    x: float, y: float, to_x: float, to_y: float, colour: str, dashes: str = "", thick: float = 1
) -> str:
    ends = f'x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}"'
    pattern = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'<line {ends} stroke="{colour}" stroke-width="{thick}"{pattern}/>'


def percent(part: float) -> str:
    return f"{part:.0%}" if part >= 0.005 else "under 1%"
