"""Draws docs/images of what make demo printed, of how its loss fell and of its report, for which
chromium and chromium-driver have to be there.

make demo 2>&1 | tee runs/demo.log
.venv/bin/python tools/picture.py runs/demo.log
"""

import base64
import io
import re
import shutil
import sys
from html import escape
from itertools import groupby
from pathlib import Path
from unicodedata import east_asian_width

from threetoe.run.report.report import write_report

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


def draw_report(page):
    """How the report begins, 1000 pixels wide, until below its samples."""
    from PIL import Image
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for flag in ("--headless", "--no-sandbox", "--window-size=1000,2000"):
        options.add_argument(flag)
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    with webdriver.Chrome(options, service) as browser:
        browser.get(page.as_uri())
        box = "document.querySelector('.sample:last-of-type').parentNode.getBoundingClientRect()"
        tall = browser.execute_script(f"return {box}.bottom") + 4
        size = {"x": 60, "y": 12, "width": 880, "height": tall - 12, "scale": 1}
        shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"clip": size})["data"]
    picture = Image.open(io.BytesIO(base64.b64decode(shot))).convert("RGB")
    picture.quantize(48, dither=0).save(IMAGES / "report.png", optimize=True)


def main(log):
    IMAGES.mkdir(exist_ok=True)
    drawn = draw_terminal(Path(log).read_text(encoding="utf-8"))
    (IMAGES / "demo.svg").write_text(drawn, encoding="utf-8")
    shutil.copyfile(ROOT / "runs" / "demo-merged" / "training.png", IMAGES / "loss.png")
    draw_report(write_report(ROOT / "runs" / "demo"))  # with the figures that came later


if __name__ == "__main__":
    main(*sys.argv[1:])
