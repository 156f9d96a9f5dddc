"""Draws data.png: how often each answer occurs, where they are few, and how long the rows are."""

import logging
from pathlib import Path

from threetoe.data.ledger import short_label

BARS = 20
ROOM_FOR = 6  # bars at least, so that two are not blocks
BINS = 40
BLUE, PALE, GREY, DARK, RED = "#4a7fb8", "#b8c4d0", "#5f6b76", "#1d232a", "#c0392b"


def histogram(lengths) -> dict:
    """{"edges", "counts"} of lengths in tokens, in bins of whole tokens, at most 41 from 0 on."""
    import numpy as np

    step = int(max(lengths)) // BINS + 1
    edges = np.arange(0, max(lengths) + step + 1, step)
    return {"edges": edges.tolist(), "counts": np.histogram(lengths, edges)[0].tolist()}


def draw(path: Path, ledger: dict) -> str | None:
    """Write a chart of a data ledger as PNG; a line that says why not where matplotlib is missing.

    `ledger["answers"]` is {text: count}, or empty; `ledger["lengths"]` has the edges and counts of
    a histogram of tokens a row, median, p95, longest and max_seq_length.
    """
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it tells of its font cache
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from PIL.Image import frombuffer
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise
        return f"{path.name} is not drawn: matplotlib is not installed (pip install matplotlib)"
    answers = ledger.get("answers") or {}
    height = max(3.8, 1.5 + 0.24 * min(len(answers), BARS + 1))
    figure = Figure(figsize=(11 if answers else 7.2, height), dpi=110, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    places = figure.subplots(1, 2 if answers else 1, squeeze=False)[0]
    for place in places:
        place.spines[["top", "right"]].set_visible(False)
        place.tick_params(length=0, colors=GREY)
    if answers:
        draw_answers(places[0], answers)
    draw_lengths(places[-1], ledger["lengths"])
    canvas.draw()
    image = frombuffer("RGBA", canvas.get_width_height(), canvas.buffer_rgba())
    image.convert("RGB").quantize(64).save(path, "png", optimize=True)
    return None


def draw_answers(place, answers: dict[str, int]) -> None:
    """Bars from the most frequent answer down; numbers for those that no font can show."""
    ranked = sorted(answers.items(), key=lambda item: -item[1])
    names = [short_label(text) for text, _ in ranked[:BARS]]
    counts = [count for _, count in ranked[:BARS]]
    font, note = font_for("".join(names)), ""
    if font is None:
        font, note = font_for("1"), " (texts in data.json, in this order)"
        names = [name if font_for(name) else f"({at})" for at, name in enumerate(names, 1)]
    rest = len(ranked) - len(names)
    if rest:
        names.append(f"{rest:,} more")
        counts.append(sum(answers.values()) - sum(counts))
    colours = [BLUE] * (len(names) - 1) + [PALE if rest else BLUE]
    bars = place.barh(range(len(names)), counts, color=colours, height=0.72)
    words = [f" {count:,} ({share(count / sum(answers.values()))})" for count in counts]
    place.bar_label(bars, words, color=GREY, fontsize=9)
    place.set_yticks(range(len(names)), names, font=font, fontsize=10, color="black")
    for label in place.get_yticklabels():
        label.set_parse_math(False)  # $ is a dollar
    place.set_ylim(max(len(names), ROOM_FOR) - 0.5, -0.6)
    place.set_xlim(0, 1.3 * max(counts))
    place.set_xticks([])
    place.spines[["left", "bottom"]].set_visible(False)
    kinds = "1 answer" if len(answers) == 1 else f"{len(answers):,} different answers"
    place.set_title(kinds + note, loc="left", fontsize=11)


def draw_lengths(place, lengths: dict) -> None:
    """A histogram, with lines at the median, the 95th percentile, the longest and the limit."""
    edges, longest, limit = lengths["edges"], lengths["longest"], lengths["max_seq_length"]
    widths = [right - left for left, right in zip(edges, edges[1:], strict=False)]
    place.bar(edges[:-1], lengths["counts"], widths, align="edge", color=BLUE)
    lines = [("median", "-"), ("p95", "--"), ("longest", ":")]
    for name, style in lines:
        words = f"{name.replace('p95', '95 % are at most')} {lengths[name]:,}"
        place.axvline(lengths[name], color=DARK, ls=style, lw=1.3, label=words)
    near = limit <= 1.3 * longest  # or it would press the bars together
    words = f"--max-seq-length {limit:,}"
    place.plot([], [], color=RED, lw=1.6, label=words)
    if near:
        place.axvline(limit, color=RED, lw=1.6)
    place.set_xlim(0, 1.03 * max(edges[-1], limit if near else 0))
    place.xaxis.set_major_formatter("{x:,.0f}")
    place.yaxis.set_major_formatter("{x:,.0f}")
    place.yaxis.get_major_locator().set_params(integer=True)
    place.figure.legend(loc="outside lower right", ncols=4, frameon=False, fontsize=9)
    place.set_xlabel("tokens a row", color=GREY, fontsize=9)
    place.set_title(f"{sum(lengths['counts']):,} rows", loc="left", fontsize=11)


def share(part: float) -> str:
    return f"{part:.0%}" if part >= 0.005 else "under 1%"


def font_for(text: str):
    """matplotlib's own font, or another of this machine that has every letter; None without."""
    from matplotlib import font_manager
    from matplotlib.ft2font import FT2Font

    needed = {ord(letter) for letter in text}
    known = [f for f in font_manager.fontManager.ttflist if not f.name.startswith("Last Resort")]
    known = [f for f in known if f.style == "normal" and f.weight in (400, "normal", "regular")]
    for file in [font_manager.findfont("DejaVu Sans"), *(font.fname for font in known)]:
        if needed <= FT2Font(file).get_charmap().keys():
            return font_manager.FontProperties(fname=file)
    return None
