"""A figure of matplotlib without a screen, and the colours of all pictures."""

import logging
import re
from pathlib import Path

BLUE, PALE, GREY, DARK, RED, LIGHT = (
    "#4a7fb8", "#b8c4d0", "#5f6b76", "#1d232a", "#c0392b", "#e4e8ec",
)  # fmt: skip


def new_figure(wide: float, tall: float):
    """A figure of so many inches, which save() writes; None where matplotlib is missing."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        if error.name.split(".")[0] != "matplotlib":
            raise
        return None
    return Figure(figsize=(wide, tall), dpi=110, layout="constrained")


def save(figure, path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_parse_math(False)  # a dollar in a name begins no formula
    FigureCanvasAgg(figure).print_png(path)


def fonts_for(texts: list[str]) -> tuple[list[str], set[str]]:
    """Names of fonts of this machine that together have the letters of texts, which they are drawn
    with from the first on; and the letters that none has."""
    from matplotlib import font_manager

    chosen, lacking = ["DejaVu Sans"], set(re.sub(r"\s", "", "".join(texts)))
    lacking -= letters_in(font_manager.findfont(*chosen))
    places = font_manager.findSystemFonts() if lacking else []
    for place in sorted(places, key=lambda place: ("Regular" not in place, place)):
        if found := lacking & letters_in(place):
            font_manager.fontManager.addfont(place)  # its list may be older than the font
            chosen.append(font_manager.get_font(place).family_name)
            lacking -= found
    return chosen, lacking


def letters_in(font: str) -> set[str]:
    from matplotlib.font_manager import get_font

    try:
        return set(map(chr, get_font(font).get_charmap()))
    except RuntimeError:  # a kind that FreeType does not read
        return set()
