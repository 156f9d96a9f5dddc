"""What bad input gets: exit code 2, a line a problem, nothing written, no heavy import."""

import subprocess
import sys
import time

import pytest
from conftest import ROOT, refused

import export
import infer
import train
from threetoe.errors import Checks, UserError, no_such_file, unknown

HEAVY = ["datasets", "peft", "torch", "transformers", "trl", "unsloth"]
WATCHED = f"""
import os, runpy, sys
sys.argv = sys.argv[1:]
sys.path[0] = os.path.dirname(sys.argv[0])
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    print(*[name for name in {HEAVY} if name in sys.modules])
"""


def watched(script, *args, cwd):
    """A script's exit code, its lines on stderr, the heavy modules it imported, its seconds."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, ROOT / script, *args],
        cwd=cwd, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    seconds = time.monotonic() - began
    return done.returncode, done.stderr.splitlines(), done.stdout.split(), seconds


@pytest.mark.parametrize(
    "call",
    [
        "train.py --template alpca --lora-r 0 --dataset nothing.json --plugin nothing.py",
        "train.py --output-dir taken --bogus --config nothing.yaml --learning-rate",
        "infer.py hello --max-new-tokens 0 --file nothing.csv",
        "export.py --dtype int3 --merged taken/run.json/deeper",
    ],
    ids=lambda call: call.split()[0],
)
def test_a_refused_call_imports_nothing_heavy_writes_nothing_and_is_quick(call, here):
    (here / "taken").mkdir()
    (here / "taken" / "run.json").write_text("{}")
    before = sorted(here.rglob("*"))
    code, lines, heavy, seconds = watched(*call.split(), cwd=here)
    assert (code, heavy) == (2, [])
    assert all(line.startswith("Error: ") for line in lines)
    assert len(lines) >= 3
    assert seconds < 2
    assert sorted(here.rglob("*")) == before


def test_all_problems_of_a_call_are_reported_together(here):
    (here / "bad.json").write_text('[{"instruction": "a", "output": "b"},\n{"instruction": ]')
    (here / "plug.py").write_text("def map_mesages(messages):\n    return messages\n")
    (here / "run.yaml").write_text("lora_alhpa: 3\n")
    (here / "full").mkdir()
    (here / "full" / "run.json").write_text("{}")
    problems = refused(
        train, "--dataset", "bad.json", "--template", "chtml", "--plugin", "plug.py",
        "--config", "run.yaml", "--output-dir", "full", "--lora-r", "0", "--max-setps", "3",
    )  # fmt: skip
    assert [line for line in problems if "bad.json:2: broken JSON" in line]
    assert [line for line in problems if "Did you mean 'chatml'?" in line]
    assert [line for line in problems if "Did you mean 'map_messages'?" in line]
    assert [line for line in problems if "Did you mean 'lora_alpha'?" in line]
    assert [line for line in problems if "Did you mean '--max-steps'?" in line]
    assert [line for line in problems if "full already holds a run" in line]
    assert [line for line in problems if "'--lora-r': 0 is not in the range" in line]
    assert len(problems) == 7


@pytest.mark.parametrize(
    ("folder", "problem"),
    [
        (
            "run",
            "--output-dir run already holds a run; name another folder, or "
            "replace it with --overwrite.",
        ),
        ("file", "--output-dir file is a file; name a folder."),
        ("file/below", "--output-dir file/below cannot be written"),
        ("other", "--output-dir other holds other files; name a new or empty folder."),
        ("begun", "--output-dir begun: begun/README.md is a link; remove it, or name a new one."),
    ],
)
def test_an_output_folder_that_cannot_be_used_is_refused(folder, problem, here):
    for name in ("run", "other", "begun"):
        (here / name).mkdir()
    (here / "begun" / "run.partial.json").touch()
    (here / "begun" / "README.md").symlink_to(here / "other" / "thesis.txt")
    (here / "run" / "run.json").write_text("{}")
    (here / "other" / "thesis.txt").write_text("three years of work")
    (here / "file").write_text("")
    (line,) = refused(train, "--output-dir", folder)
    assert line.startswith(problem)


def test_a_folder_that_nobody_can_write_to_is_refused_even_for_root(here):
    (line,) = refused(train, "--output-dir", "/proc/runs/one")
    assert line.startswith("--output-dir /proc/runs/one cannot be written")


@pytest.mark.parametrize("option", ["--dataset", "--output-dir"])
def test_a_name_that_no_file_can_have_is_refused(option, here):
    (line,) = refused(train, option, "x" * 300)
    assert line.startswith("File name too long: ")


def test_infer_without_question_or_run_names_both(here):
    problems = refused(infer)
    assert problems[0].startswith("No run found")
    assert problems[1].startswith("Nothing is asked")


def test_export_with_nothing_to_do_says_what_there_is_to_do(here):
    flags = "--adapter, --merged, --merged-4bit, --gguf, --ollama, --format or --push"
    assert f"Nothing to do: name {flags}." in refused(export)


@pytest.mark.parametrize("script", [train, infer, export], ids=lambda script: script.__name__)
def test_every_script_suggests_the_option_that_was_meant(script, here):
    assert "No such option: --plugn. Did you mean '--plugin'?" in refused(script, "--plugn", "x.py")


def test_a_missing_file_is_suggested_from_its_own_folder(tmp_path):
    (tmp_path / "rows.jsonl").write_text("")
    (tmp_path / "rows").mkdir()
    error = str(no_such_file(tmp_path / "row.jsonl"))
    assert error == f"No such file: {tmp_path}/row.jsonl. Did you mean '{tmp_path}/rows.jsonl'?"


def test_a_file_that_shares_no_more_than_folder_and_ending_is_not_suggested(tmp_path):
    (tmp_path / "z.csv").write_text("")
    assert str(no_such_file(tmp_path / "rows.csv")) == f"No such file: {tmp_path}/rows.csv."


def test_a_missing_folder_is_named(tmp_path):
    error = str(no_such_file(tmp_path / "away" / "rows.csv"))
    assert error.endswith(f"There is no folder {tmp_path}/away.")


def test_an_unknown_name_lists_what_there_is():
    error = unknown("template", "alpacca", ["human", "alpaca"])
    assert str(error) == (
        "No template named 'alpacca'. Did you mean 'alpaca'? Available: alpaca, human."
    )


def test_checks_gather_what_was_wrong_once_each_and_return_what_was_right():
    def ask(problem):
        raise UserError(problem)

    checks = Checks(["from the command line"])
    assert checks(str, 3) == "3"
    assert checks(ask, "one") is checks(ask, "one") is checks(ask, "two") is None
    with pytest.raises(UserError) as raised:
        checks.done()
    assert raised.value.problems == ["from the command line", "one", "two"]


def test_checks_without_problems_raise_nothing():
    assert Checks().done() is None
