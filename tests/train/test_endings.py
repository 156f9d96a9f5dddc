"""After overfitting 20 rows of each template, all 20 answers end by themselves."""

import json

import pytest
from conftest import ROOT
from forked import run_python
from probes import TEMPLATES

QUICK = ["alpaca", "chatml", "chatml as text"]
EVERY = [*TEMPLATES, "chatml as text"]


@pytest.fixture(scope="module")
def overfitted(tmp_path_factory):
    """What came of a template, as a function of its name."""
    found = {}

    def of(name):
        if name not in found:
            template, _, text = name.partition(" as ")
            program = [ROOT / "tests" / "overfit.py", template, text or "add"]
            done = run_python(program, tmp_path_factory.mktemp("overfit"))
            assert done.returncode == 0, done.stdout + done.stderr
            found[name] = json.loads(done.stdout)
        return found[name]

    return of


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in QUICK else pytest.mark.wide) for n in EVERY]
)
def test_all_answers_end_by_themselves_and_most_are_right(overfitted, name):
    assert overfitted(name)["ended"] == 20
    assert overfitted(name)["right"] >= 7  # chance is 1 in 20


@pytest.mark.parametrize("names", [QUICK, pytest.param(EVERY, marks=pytest.mark.wide)], ids=len)
def test_the_rows_were_learned(overfitted, names):
    assert sum(overfitted(name)["right"] for name in names) > 15 * len(names)
