"""Draws docs/images of what make demo printed and of how its loss fell.

make demo 2>&1 | tee runs/demo.log
.venv/bin/python tools/picture.py runs/demo.log
"""

import re
import shutil
import sys
from html import escape
from itertools import groupby
from pathlib import Path
from unicodedata import east_asian_width

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
WIDTH, HEIGHT, MARGIN = 8, 19, 16  # pixels: a column, a line, around all
STYLES = {  # the first that a line matches
    "command": r"\s*(\.venv/bin/)?python ",
    "result": r"exactly right|.*tokens agree",
}
FRAME = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">
<style>
rect {{ fill: #1b1f27 }}
text {{ fill: #c8ced8; font: 13px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace }}
.wide {{ font-size: 15px }}
.command {{ fill: #7cc4ff }}
.result {{ fill: #8fdc9a }}
</style>
<rect width="{width}" height="{height}" rx="8"/>
<g xml:space="preserve">
{texts}
</g>
</svg>
"""


def is_wide(character):
    """Whether a terminal gives a character two columns, as it does to a Chinese one."""
    return east_asian_width(character) in "WF"


def texts_of(line, top):
    """The line as SVG: each stretch of equally wide characters at its column, as wide as those."""
    style = next((name for name, pattern in STYLES.items() if re.match(pattern, line)), "")
    column = 0
    for wide, characters in groupby(line, is_wide):
        text = "".join(characters)
        columns = len(text) * (1 + wide)
        yield (
            f'<text class="{style}{" wide" * wide}" x="{MARGIN + WIDTH * column}" y="{top}" '
            f'textLength="{WIDTH * columns}">{escape(text)}</text>'
        )
        column += columns


def draw_terminal(printed):
    """What a terminal shows as SVG."""
    lines = printed.strip().expandtabs().splitlines()
    columns = max(sum(1 + is_wide(character) for character in line) for line in lines)
    tops = range(MARGIN + 14, MARGIN + 14 + HEIGHT * len(lines), HEIGHT)
    texts = [text for line, top in zip(lines, tops, strict=True) for text in texts_of(line, top)]
    size = {"width": 2 * MARGIN + WIDTH * columns, "height": 2 * MARGIN + HEIGHT * len(lines)}
    return FRAME.format(**size, texts="\n".join(texts))


def main(log):
    IMAGES.mkdir(exist_ok=True)
    drawn = draw_terminal(Path(log).read_text(encoding="utf-8"))
    (IMAGES / "demo.svg").write_text(drawn, encoding="utf-8")
    shutil.copyfile(ROOT / "runs" / "demo-merged" / "training.png", IMAGES / "loss.png")


if __name__ == "__main__":
    main(*sys.argv[1:])
