"""What make demo shows beside the scripts' own words; .ci/run runs all of it."""

import json
import re
import shlex
import subprocess
import sys

import pytest
from conftest import ROOT

import export
import infer
import train

SCRIPTS = {"train.py": train, "infer.py": infer, "export.py": export}
NEXT = re.search(r"^define NEXT\n(.*?)^endef", (ROOT / "Makefile").read_text("utf-8"), re.M | re.S)


def answers(path, *rows):
    """A file as infer.py --output writes it, of (where, asked, expected, answer)."""
    lines = [{"instruction": q, "where": w, "expected": e, "answer": a} for w, q, e, a in rows]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def test_base_and_run_stand_side_by_side_a_wrong_row_for_each_expected_answer(tmp_path):
    asked = [(1, "Good?", "Yes"), (2, "Bad?", "No"), (3, "Better?", "Yes"), (4, "一" * 30, "好")]
    before = answers(
        tmp_path / "a",
        *((*row, said) for row, said in zip(asked, ("Hm", "No", "?", "?"), strict=True)),
    )
    after = answers(tmp_path / "b", *((*row, row[2]) for row in reversed(asked)))
    table = [sys.executable, ROOT / "examples" / "before_after.py", before, after]
    shown = subprocess.run(table, capture_output=True, encoding="utf-8", check=True).stdout
    assert [re.split("  +", line.strip()) for line in shown.splitlines()] == [
        ["expected", "base", "trained"],
        ["exactly right", "1 of 4", "4 of 4"],
        ["Good?", "Yes", "Hm", "Yes"],
        ["一" * 21 + "…", "好", "?", "好"],
    ]


@pytest.mark.parametrize("line", re.findall(r"python (\w+\.py .*)", NEXT[1]))
def test_a_command_that_the_demo_ends_with_is_one_that_the_script_takes(line, monkeypatch):
    monkeypatch.chdir(ROOT)
    name, *words = shlex.split(line)
    assert SCRIPTS[name].main.make_context(name, words).params
