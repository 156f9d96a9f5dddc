"""Exports that are killed, run into a full disk or into each other: nothing looks whole, nothing
is damaged, and the next try goes on."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, TINY, refused

import export
from threetoe.machine.files import lock

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="children are forked")
KILLS = 20
# Threads of the tokenizer or of torch would not live on in a forked child, and be waited for.
CHILD = {"PYTHONPATH": str(ROOT), "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def stopped(three_steps, tmp_path_factory):
    """What came of 20 exports killed at random points of their time, 4 of them with the proof, and
    of 2 that ran into a full disk."""
    chance = random.Random(3407)
    cases = [{"verify": n % 5 == 0, "share": chance.random()} for n in range(KILLS)]
    cases += [{"verify": False, "limit": limit} for limit in (100_000, 400_000)]
    folder = tmp_path_factory.mktemp("killed")
    given = {"run": str(three_steps), "folder": str(folder), "base": str(TINY), "cases": cases}
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "killed_exports.py"], input=json.dumps(given),
        env={**os.environ, **CHILD}, cwd=folder, capture_output=True, text=True,
        encoding="utf-8", timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_no_folder_looks_whole_after_a_kill(stopped):
    for facts in stopped[:KILLS]:
        assert (facts["how"], facts["looks_whole"]) == ("killed", False)
    assert len({facts["shards"] for facts in stopped[:KILLS]}) > 3  # they came at several points


def test_a_full_disk_leaves_no_folder_that_looks_whole(stopped):
    for facts in stopped[KILLS:]:
        assert (facts["how"], facts["looks_whole"]) == ("code 1", False)


def test_run_and_base_are_untouched(stopped):
    assert all(facts["untouched"] for facts in stopped)


def test_the_next_try_ends_with_the_same_bits_and_leaves_nothing_beside(stopped):
    assert all(facts["same"] and facts["tidy"] for facts in stopped)


def test_the_next_try_keeps_every_whole_shard(stopped):
    assert all(facts["kept"] == facts["shards"] for facts in stopped)
    assert sum(facts["kept"] > 0 for facts in stopped) > KILLS / 4


def test_two_exports_into_one_folder_are_refused(three_steps, here):
    Path("out.partial").mkdir()
    with lock(Path("out.partial")):
        (line,) = refused(export, "--run", three_steps, "--merged", "out")
    assert line == "--merged out: another export is writing there; name another folder."
