"""report.html: what a stranger sees of a run, and what a stranger's data cannot do there."""

import json
import os
import re
import shutil
from html import unescape

import pytest
from browser import a_browser, needs_chromium

from threetoe.errors import UserError
from threetoe.run.report.plot import MOST, plot, plot_losses, ticks
from threetoe.run.report.report import REPORT, write_report
from threetoe.run.summary import Summary, summarize

HOSTILE = (
    "<script>document.title='hit'</script><img src='http://127.0.0.1:9/a.png' onerror='hit()'>"
    "\x1b[2J\u202e</pre></style>" + "W" * 200
)
TOKEN = "hf_" + "a" * 30
WIDTHS = (1000, 390)


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def change(folder, **parts):
    """Put other values into the record of a run."""
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    for name, values in parts.items():
        record[name] |= values
    (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")


@pytest.fixture
def run(demo, tmp_path):
    """A copy of the demo's run, with samples and figures of base and run."""
    folder = shutil.copytree(demo[0], tmp_path / "demo")
    (folder / REPORT).unlink()  # what training has written
    asked = [{"role": "user", "content": "Classify it.", "input": "What a day!"}]
    sample = {"where": "a.json:1", "asked": asked, "expected": "Positive"}
    answers = [(0, "the the"), (60, "Neutral"), (120, "Positive")]
    lines(folder / "samples.jsonl", [sample | {"step": n, "answer": a} for n, a in answers])
    scored = {"file": "sentiment", "split": "test", "answers": 180}
    sides = [(False, 0.0), (True, 0.95)]
    labels = {"Positive": {"rows": 90, "precision": 0.9, "recall": 0.8, "f1": 0.85}}
    rows = [scored | {"adapter": a, "metrics": {"exact": e}, "labels": labels} for a, e in sides]
    judged = {"answers": 9, "metrics": {"accuracy": 0.5}, "labels": {}, "confusion": []}
    lines(folder / "scores.jsonl", [judged | {"step": step} for step in (60, 120)])
    lines(folder / "evaluations.jsonl", rows)
    return folder


def page_of(folder):
    return write_report(folder).read_text(encoding="utf-8")


def text_of(page):
    body = re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)
    return " ".join(unescape(re.sub("<[^>]*>", " ", body)).split())


def test_it_tells_what_was_asked_what_was_learned_and_how_to_go_on(run):
    text = text_of(page_of(run))
    for part in (
        "Of 180 rows of sentiment (test) it answers 95.0% exactly right, its base 0.0%.",
        "python train.py --dataset sentiment", "--max-seq-length 256",
        "Before and after Rows that it was trained on. asked Classify it. What a day!",
        "What a day! base the the this run Positive expected Positive",
        "As it went base the the step 60 Neutral this run Positive",
        "9 rows of validation this run 50.0%", "Positive 90 0.9 0.8 0.85",
        "read 900 trained 900", "Positive 150", "learning_rate 0.004", "unsloth 20",
        'python infer.py --run runs/demo "Your question"',
    ):  # fmt: skip
        assert part in text
    assert len(re.findall('class="(steps|mean|rate)"', page_of(run))) == 3


def test_a_picture_of_the_confusion_matrix_is_in_the_page_itself_and_only_a_picture(run, tmp_path):
    shutil.copy(run / "loss.png", run / "confusion.png")
    page = page_of(run)
    assert page.count('src="data:image/png;base64,iVBOR') == page.count("src=") == 1
    (tmp_path / "secret").write_text("secret")
    (run / "confusion.png").unlink()
    (run / "confusion.png").symlink_to(tmp_path / "secret")
    assert "src=" not in page_of(run)


def test_it_is_one_small_file_that_says_no_place_of_the_machine_and_no_token(run, tmp_path):
    home = "/home/ada/secret"
    change(
        run,
        options={"model": f"{home}/base", "dataset": [f"{home}/my.json"], "mirror": f"{home}/m",
                 "then": f"export --merged {home}/x", "instruction": TOKEN},
        data={"source": f"{home}/my.json", "examples": {"x": f"{home}/my.json:3"}},
    )  # fmt: skip
    page = page_of(run)
    assert home not in page and str(tmp_path) not in page and TOKEN not in page
    assert "--dataset my.json" in text_of(page) and "--model base" in text_of(page)
    assert not re.search(r"<script|<link (?!rel=.icon)|src=|url\(|@import|https?:", page)
    assert len(page) < 60_000


@needs_chromium
def test_in_a_browser_it_fits_phone_and_desktop_light_and_dark_and_hostile_texts_are_texts(run):
    asked = [{"role": "user", "content": HOSTILE}]
    sample = {"where": HOSTILE, "asked": asked, "expected": HOSTILE, "answer": HOSTILE}
    lines(run / "samples.jsonl", [sample | {"step": 0}, sample | {"step": 9}])
    scored = {"file": HOSTILE, "split": HOSTILE, "answers": 1, "metrics": {HOSTILE: 0.5}}
    lines(run / "evaluations.jsonl", [scored | {"adapter": True}])
    change(
        run, options={"dataset": [HOSTILE], "model": HOSTILE}, packages={HOSTILE: HOSTILE},
        data={"source": HOSTILE, "answers": {HOSTILE: 3}, "dropped": {HOSTILE: 2}},
    )  # fmt: skip
    run = run.rename(run.with_name("<img src=x onerror=hit()>"))
    page, colours = write_report(run).as_uri(), {}
    with a_browser(browser="ALL", performance="ALL") as browser:
        for scheme in ("light", "dark"):
            media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
            for width in WIDTHS:
                size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
                browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
                browser.get(page)
                browser.execute_script(
                    "document.querySelectorAll('details').forEach(part => { part.open = true })"
                )
                whole = browser.execute_script("return document.documentElement.scrollWidth")
                assert whole <= width, (scheme, width, whole)
                assert browser.title == f"{run.name}: a training with Threetoe"
                assert browser.find_elements("css selector", "script, img, a, iframe") == []
                shown = browser.find_element("css selector", ".sample dd").text
                assert shown.startswith("<script>document.title='hit'</script><img src=")
                assert "\\x1b[2J\\u202e</pre></style>WW" in shown
                assert browser.find_element("css selector", ".plot svg").size["height"] > 100
            body = browser.find_element("css selector", "body")
            colours[scheme] = body.value_of_css_property("background-color")
        assert browser.get_log("browser") == []
        events = (json.loads(e["message"])["message"] for e in browser.get_log("performance"))
        sent = [e["params"]["request"]["url"] for e in events
                if e["method"] == "Network.requestWillBeSent"]  # fmt: skip
    assert {*sent} <= {page, "data:,"} and page in sent
    assert colours["light"] != colours["dark"]


def test_a_damaged_line_is_named_and_the_page_before_stays(run):
    before = page_of(run)
    for name, line in {
        "metrics.jsonl": '{"loss": 3}', "samples.jsonl": '{"step": 1, "where": "a", "asked": "b"}',
        "evaluations.jsonl": '{"file": "a", "adapter": true, "answers": 1, "metrics": {"a": "b"}}',
    }.items():  # fmt: skip
        good = (run / name).read_text(encoding="utf-8")
        (run / name).write_text(good + line + "\n", encoding="utf-8")
        with pytest.raises(UserError, match=name):
            write_report(run)
        (run / name).write_text(good, encoding="utf-8")
    assert (run / REPORT).read_text(encoding="utf-8") == before == page_of(run)


def test_it_is_written_through_no_link_and_of_trainings_alone(run, tmp_path):
    (tmp_path / "mine").write_text("mine")
    (run / REPORT).symlink_to(tmp_path / "mine")
    write_report(run)
    assert (tmp_path / "mine").read_text() == "mine" and not (run / REPORT).is_symlink()
    (run / "metrics.jsonl").unlink()
    with pytest.raises(UserError, match="was not trained there"):
        write_report(run)


def test_losses_that_are_no_numbers_are_left_out_and_a_long_training_is_drawn_as_few_points(run):
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 121, "loss": NaN}\n{"step": 122, "eval_loss": Infinity}\n')
    assert "nan" not in page_of(run).lower()
    points = [{"step": n, "loss": 1000 / (n + 9)} for n in range(1, 50_001)]
    drawn = plot_losses(points)
    assert all(len(curve.split()) <= MOST for curve in drawn.curves.values())
    assert plot({"a": [(1, 2.0)]}) is None and plot({"a": [(1, 2.0), (2, 2.0)]}) is not None


def test_ticks_are_round_and_few():
    assert ticks(0, 120, least=1) == [0, 50, 100]
    assert ticks(1, 3, least=1) == [1, 2, 3]
    assert ticks(0.0, 0.004, most=2) == [0.0, 0.002, 0.004]
    assert [len(ticks(0, high)) for high in (0.0031, 7.3, 99, 1e6)] == [4, 4, 5, 6]


def test_the_verdict_says_when_rows_were_learned_by_heart(run):
    line = {"validation": (3.0, 1.0, 1.5), "lowest_at": 40, "steps": 120}
    (said,) = Summary("a", "finished", **line).verdicts()
    assert "lowest at step 40 (1), and rose to 1.5" in said
    (said,) = Summary("a", "finished", loss=(2.0, 2.5)).verdicts()
    assert (
        said == "On the rows that it was trained on the loss did not fall: it went from 2 to 2.5."
    )
    found = summarize(run)
    assert (found.state, found.rows, found.steps) == ("finished", 900, 120)
    os.rename(run / "run.json", run / "run.partial.json")
    assert summarize(run).state == "unfinished"
