"""data.png is drawn from a ledger: any labels, any lengths, without a warning."""

import subprocess
import sys
import warnings

import numpy as np
import pytest
from conftest import ROOT

from threetoe.data import chart
from threetoe.data.ledger import LETTERS

PNG = b"\x89PNG\r\n\x1a\n"


def ledger(answers, lengths, limit=2048):
    ordered = sorted(lengths)
    figures = {
        "median": ordered[len(ordered) // 2], "p95": ordered[int(len(ordered) * 0.95)],
        "longest": ordered[-1], "max_seq_length": limit,
    }  # fmt: skip
    return {"answers": answers, "lengths": {**chart.histogram(lengths), **figures}}


LENGTHS = np.random.default_rng(0).lognormal(np.log(180), 0.7, 5000).clip(8, 2048).astype(int)
MANY = {f"the {number}th answer, which costs $x_{number}$ and more": 5 for number in range(50)}


@pytest.mark.parametrize(
    "ledger",
    [
        ledger({"positive": 450, "negative": 450}, LENGTHS.tolist()),
        ledger({"积极": 3, "消极": 2, "🙂": 1}, [5]),
        ledger({}, [7] * 4, limit=8),
        ledger(MANY, LENGTHS.tolist()),
        ledger({"": 1, "two\nlines": 100000}, [1, 2048]),
    ],
    ids=["two", "chinese", "none", "many", "odd"],
)
def test_a_small_png_is_drawn_without_a_warning(ledger, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert chart.draw(tmp_path / "data.png", ledger) is None
    drawn = (tmp_path / "data.png").read_bytes()
    assert drawn.startswith(PNG)
    assert 5_000 < len(drawn) < 100_000


def labels(answers):
    """What stands beside the bars, and the title."""
    from matplotlib.figure import Figure

    place = Figure().subplots()
    chart.draw_answers(place, answers)
    return [label.get_text() for label in place.get_yticklabels()], place.get_title("left")


def test_answers_are_named_from_the_most_frequent_down():
    assert labels({"no": 3, "yes": 5, " ": 1}) == (["yes", "no", "(empty)"], "3 different answers")


def test_the_rarest_of_many_answers_are_one_bar():
    names, _ = labels(MANY)
    assert len(names) == chart.BARS + 1
    assert names[-1] == "30 more"
    assert all(len(name) <= LETTERS for name in names)


def test_answers_that_no_font_can_show_are_numbered():
    names, title = labels({"\U000f0000": 2, "yes": 1})  # a private letter
    assert names == ["(1)", "yes"]
    assert title == "2 different answers (texts in data.json, in this order)"


def test_a_font_of_the_machine_is_used_for_letters_that_matplotlibs_own_lacks(tmp_path):
    from fontTools.fontBuilder import FontBuilder
    from fontTools.pens.ttGlyphPen import TTGlyphPen
    from matplotlib import font_manager

    text, pen = "\U000f0001", TTGlyphPen(None)
    pen.moveTo((0, 0)), pen.lineTo((0, 500)), pen.lineTo((500, 0)), pen.closePath()
    font = FontBuilder(1000)
    font.setupGlyphOrder([".notdef", "letter"])
    font.setupCharacterMap({ord(text): "letter"})
    font.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "letter": pen.glyph()})
    font.setupHorizontalMetrics(dict.fromkeys((".notdef", "letter"), (600, 0)))
    font.setupHorizontalHeader(ascent=800, descent=-200)
    font.setupNameTable({"familyName": "Private", "styleName": "Regular"})
    font.setupOS2(usWeightClass=400)
    font.setupPost()
    font.save(tmp_path / "private.ttf")
    assert chart.font_for(text) is None
    known = list(font_manager.fontManager.ttflist)
    font_manager.fontManager.addfont(tmp_path / "private.ttf")
    try:
        assert chart.font_for(text).get_file() == str(tmp_path / "private.ttf")
        assert labels({text: 1})[0] == [text]
    finally:
        font_manager.fontManager.ttflist = known


@pytest.mark.parametrize("longest", [1, 39, 40, 77, 2048])
def test_bins_are_whole_tokens_and_hold_every_row(longest):
    made = chart.histogram([1, longest, longest])
    steps = set(np.diff(made["edges"]).tolist())
    assert len(steps) == 1
    assert sum(made["counts"]) == 3
    assert len(made["counts"]) <= chart.BINS + 1
    assert made["edges"][0] == 0 and made["edges"][-1] > longest


def test_without_matplotlib_a_line_says_what_to_install(tmp_path):
    """In a process where it cannot be imported, as where it was never installed."""
    code = (
        "import sys\nfrom pathlib import Path\nfrom threetoe.data import chart\n"
        "class Missing:\n    def find_spec(name, path, target=None):\n"
        "        if name == 'matplotlib':\n"
        "            raise ModuleNotFoundError('No module named ' + name, name=name)\n"
        "sys.meta_path.insert(0, Missing)\n"
        "print(chart.draw(Path('data.png'), {}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, encoding="utf-8",
    )  # fmt: skip
    assert done.stdout == (
        "data.png is not drawn: matplotlib is not installed (pip install matplotlib)\n"
    ), done.stderr
    assert list(tmp_path.iterdir()) == []
