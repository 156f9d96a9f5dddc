"""After overfitting 20 rows of each template, all 20 answers end by themselves."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from threetoe.machine import files as catalog


@pytest.fixture(scope="module")
def overfitted(tmp_path_factory):
    done = subprocess.run(
        [sys.executable, Path(__file__).parents[1] / "overfit.py"],
        cwd=tmp_path_factory.mktemp("overfit"), capture_output=True, text=True, encoding="utf-8",
        timeout=1800, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    results = map(json.loads, done.stdout.splitlines())
    return {result["template"]: result for result in results}


@pytest.mark.parametrize("name", [*catalog.named_files("templates"), "chatml as text"])
def test_all_answers_end_by_themselves_and_most_are_right(overfitted, name):
    assert overfitted[name]["ended"] == 20
    assert overfitted[name]["right"] >= 7  # chance is 1 in 20


def test_the_rows_were_learned(overfitted):
    assert sum(result["right"] for result in overfitted.values()) > 15 * len(overfitted)
