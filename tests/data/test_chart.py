"""data.svg is drawn from a ledger: any labels in any script, any lengths."""

from xml.etree import ElementTree

import numpy as np
import pytest

from threetoe.data import chart
from threetoe.data.ledger import LETTERS

SVG = "{http://www.w3.org/2000/svg}"


def ledger(answers, lengths, limit=2048):
    ordered = sorted(lengths)
    figures = {
        "median": ordered[len(ordered) // 2], "p95": ordered[int(len(ordered) * 0.95)],
        "longest": ordered[-1], "max_seq_length": limit,
    }  # fmt: skip
    return {"answers": answers, "lengths": {**chart.histogram(lengths), **figures}}


LENGTHS = np.random.default_rng(0).lognormal(np.log(180), 0.7, 5000).clip(8, 2048).astype(int)
MANY = {f"the {number}th answer, which costs $x_{number}$ and more": 5 for number in range(50)}


def drawn(ledger, tmp_path):
    """The root of what is drawn, and its texts."""
    chart.draw(tmp_path / "data.svg", ledger)
    root = ElementTree.parse(tmp_path / "data.svg").getroot()
    return root, [mark.text for mark in root.iter(f"{SVG}text")]


@pytest.mark.parametrize(
    "ledger",
    [
        ledger({"positive": 450, "negative": 450}, LENGTHS.tolist()),
        ledger({"积极": 3, "消极": 2, "🙂": 1}, [5]),
        ledger({}, [7] * 4, limit=8),
        ledger(MANY, LENGTHS.tolist()),
        ledger({"": 1, "two\nlines": 100000}, [1, 2048]),
        ledger({"<b>&\x1b]0;x\x07": 2, "no": 3}, [1]),
    ],
    ids=["two", "chinese", "none", "many", "odd", "markup"],
)
def test_all_that_is_drawn_lies_in_the_picture_and_every_bar_is_there(ledger, tmp_path):
    root, _ = drawn(ledger, tmp_path)
    wide, tall = float(root.get("width")), float(root.get("height"))
    for mark in root.iter(f"{SVG}text"):
        assert 0 <= float(mark.get("x")) < wide and 0 <= float(mark.get("y")) < tall
    background, *bars = root.iter(f"{SVG}rect")
    for bar in bars:
        assert float(bar.get("x")) + float(bar.get("width")) <= wide
        assert float(bar.get("y")) + float(bar.get("height")) <= tall
    answers = min(len(ledger["answers"]), chart.BARS + 1)
    assert len(bars) == answers + np.count_nonzero(ledger["lengths"]["counts"])


def test_labels_are_texts_of_any_script_and_only_texts(tmp_path):
    _, texts = drawn(ledger({"积极": 3, "<b>&\x1b": 2, "": 1}, [5]), tmp_path)
    assert texts[:7] == [
        "3 different answers", "积极", "3 (50%)", "<b>&\\x1b", "2 (33%)", "(empty)", "1 (17%)",
    ]  # fmt: skip


def test_the_rarest_of_many_answers_are_one_bar():
    bars = chart.ranked(MANY)
    assert len(bars) == chart.BARS + 1
    assert bars[-1] == ("30 more", 150)
    assert all(len(name) <= LETTERS for name, _ in bars)


def test_the_legend_names_only_what_is_drawn(tmp_path):
    near = " ".join(drawn(ledger({}, [7, 8], limit=8), tmp_path)[1])
    far = " ".join(drawn(ledger({}, [7, 8], limit=2048), tmp_path)[1])
    assert "--max-seq-length 8 median" in near
    assert "tokens a row; --max-seq-length 2,048 is further right" in far
    lines = drawn(ledger({}, [7, 8]), tmp_path)[0].iter(f"{SVG}line")
    assert chart.RED not in {line.get("stroke") for line in lines}


@pytest.mark.parametrize("longest", [1, 39, 40, 77, 2048])
def test_bins_are_whole_tokens_and_hold_every_row(longest):
    made = chart.histogram([1, longest, longest])
    steps = set(np.diff(made["edges"]).tolist())
    assert len(steps) == 1
    assert sum(made["counts"]) == 3
    assert len(made["counts"]) <= chart.BINS + 1
    assert made["edges"][0] == 0 and made["edges"][-1] > longest
