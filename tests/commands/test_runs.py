"""python -m threetoe runs: figures of runs, in lines that a terminal holds."""

import json
import re
import shutil

import pytest
from click.testing import CliRunner

from threetoe.__main__ import cli
from threetoe.errors import UserError
from threetoe.machine.files import lock
from threetoe.machine.terminal import width_of
from threetoe.run.losses import PNG


@pytest.fixture
def place(demo, three_steps, here):
    """A folder with two runs, one that was stopped, an export, and what is none or damaged."""
    runs = here / "runs"
    runs.mkdir()
    for name, source in {"demo": demo[0], "three": three_steps, "stopped": three_steps}.items():
        (runs / name).mkdir()
        for file in ("run.json", "metrics.jsonl"):
            shutil.copy(source / file, runs / name)
    record = json.loads((runs / "three" / "run.json").read_text())
    (runs / "stopped" / "run.json").unlink()
    partial = json.dumps({"options": record["options"]})
    (runs / "stopped" / "run.partial.json").write_text(partial)
    for name, file, text in (
        ("merged", "run.json", "{}"), ("theirs", "adapter_config.json", "{}"),
        ("broken", "run.json", "{"), ("other", "notes.txt", ""),
    ):  # fmt: skip
        (runs / name).mkdir()
        (runs / name / file).write_text(text)
    (runs / "broken" / "metrics.jsonl").touch()
    return runs


def said(*words):
    done = CliRunner().invoke(
        cli, [*map(str, words)], catch_exceptions=False, standalone_mode=False
    )
    return done.stdout


def test_runs_are_listed_with_their_figures_and_what_is_none_is_named(place):
    head, *lines = said("runs").splitlines()
    table, others = {line.split()[0]: line for line in lines[:3]}, lines[3:]
    assert head.split() == "run date base template rows steps loss state".split()
    assert table["demo"].split()[3:7] == ["tiny", "alpaca", "900", "120"]
    assert table["three"].split()[6] == "3" and table["stopped"].endswith("unfinished")
    dates = [line.split()[1:3] for line in table.values()]
    assert dates == sorted(dates)
    assert others[0].startswith("damaged: ") and "broken/run.json is damaged" in others[0]
    assert others[1:] == ["no run, but export: merged", "no run, but foreign: theirs"]
    with lock(place / "stopped"):
        assert re.search("(?m)^stopped .*  training$", said("runs", place))


def test_names_of_any_length_and_script_fit_80_columns(place):
    (place / "demo").rename(place / ("模型" * 40))
    (place / "theirs").rename(place / "their\x1b\ns")
    lines = said("runs", place).splitlines()
    assert lines[-1] == "no run, but foreign: their\\x1b s"
    assert all(width_of(line) <= 80 for line in lines[:4])
    lines = said("runs", place / ("模型" * 40), place / "three").splitlines()
    assert all(width_of(line) <= 80 for line in lines)


def test_the_figures_are_json_too(place):
    rows = {row["folder"]: row for row in json.loads(said("runs", place, "--json"))}
    assert {row["state"] for row in rows.values()} == {
        "finished", "unfinished", "damaged", "export", "foreign",
    }  # fmt: skip
    assert rows[str(place / "demo")]["loss"][1] < rows[str(place / "demo")]["loss"][0] / 4


def test_two_runs_are_compared_by_options_data_and_curves(place):
    record = json.loads((place / "three" / "run.json").read_text())
    record["packages"]["trl"] = "0.1"
    (place / "three" / "run.json").write_text(json.dumps(record))
    text = said("runs", place / "demo", place / "three")
    rows = {words[0]: words[1:] for words in map(str.split, text.splitlines()) if words}
    assert rows["max_steps"] == ["120", "3"] and rows["trl"][1] == "0.1"
    assert not {"output_dir", "seed", "torch"} & rows.keys()
    assert rows["demo"][0][0] > rows["demo"][0][-1] == "▁"
    assert len(rows["demo"][0]) == 50 and len(rows["three"][0]) == 1


def test_runs_of_one_name_are_compared_under_their_paths(place):
    shutil.copytree(place / "demo", place / "more" / "demo")
    *_, one, other = said("runs", place / "demo", place / "more" / "demo").splitlines()
    assert [one.split()[0], other.split()[0]] == ["runs/demo", "more/demo"]


def test_the_losses_of_runs_are_drawn_into_a_picture_that_was_not_there(place):
    (place / "demo").rename(place / r"$\no$")  # no formula
    asked = ["runs", place / r"$\no$", place / "three", "--output", place / "losses.png"]
    said(*asked)
    assert (place / "losses.png").read_bytes().startswith(PNG)
    for words in (asked, [*asked[:-1], place / "losses.jpg"], ["runs", place, *asked[-2:]]):
        with pytest.raises(UserError, match="--output"):
            said(*words)


def test_what_is_no_folder_is_a_line(here):
    for words in (["runs"], ["runs", "nope"], ["report", "nope"], ["report"]):
        with pytest.raises(UserError):
            said(*words)


def test_a_report_is_written_again(place):
    assert said("report", place / "demo") == f"{place / 'demo' / 'report.html'}\n"


def test_the_help_of_no_command_is_cut():
    for words in ([], ["plugins"], ["templates"], ["make-dataset"]):
        assert "..." not in said(*words, "--help").partition("Commands:")[2]
