"""Exports that are killed, run into a full disk or into each other: nothing looks whole, nothing
is damaged, and the next try goes on."""

import json
import os
import random
import tempfile
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import ROOT, TINY, refused
from forked import run_python

import export
from threetoe.export.folder import MARK
from threetoe.machine.files import lock

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="children are forked")
KILLS = [8, pytest.param(40, marks=pytest.mark.wide)]
# Threads of the tokenizer or of torch would not live on in a forked child, and be waited for.
CHILD = {"PYTHONPATH": str(ROOT), "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module", params=KILLS)
def stopped(request, three_steps, tmp_path_factory):
    """What came of exports killed at random points of each part of their time, one in four with
    the proof, and at the end of 2 that ran into a full disk."""
    chance, kills = random.Random(3407), request.param
    cases = [{"verify": n % 4 == 0, "share": (n + chance.random()) / kills} for n in range(kills)]
    cases += [{"verify": False, "limit": limit} for limit in (100_000, 400_000)]
    folder = tmp_path_factory.mktemp("killed")
    given = {"run": str(three_steps), "folder": str(folder), "base": str(TINY), "cases": cases}
    return output_of("killed_exports.py", given, folder)


def output_of(script: str, given: dict, folder: Path) -> list[dict]:
    env = {**os.environ, **CHILD}
    done = run_python([ROOT / "tests" / script], folder, env, json.dumps(given))
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_no_folder_looks_whole_after_a_kill(stopped):
    for facts in stopped[:-2]:
        assert (facts["how"], facts["looks_whole"]) == ("killed", False)
    assert len({facts["shards"] for facts in stopped[:-2]}) > 3  # they came at several points


def test_a_full_disk_leaves_no_folder_that_looks_whole(stopped):
    for facts in stopped[-2:]:
        assert (facts["how"], facts["looks_whole"]) == ("code 1", False)


def test_run_and_base_are_untouched(stopped):
    assert all(facts["untouched"] for facts in stopped)


def test_the_next_try_ends_with_the_same_bits_and_leaves_nothing_beside(stopped):
    assert all(facts["same"] and facts["tidy"] for facts in stopped)


def test_the_next_try_keeps_every_whole_shard(stopped):
    assert all(facts["kept"] == facts["shards"] for facts in stopped)
    assert sum(facts["kept"] > 0 for facts in stopped) > len(stopped) / 4


@pytest.mark.parametrize("pairs", [5, pytest.param(14, marks=pytest.mark.wide)])
def test_of_two_exports_into_one_folder_one_is_refused_and_the_other_whole(
    three_steps, tmp_path, pairs
):
    given = {"run": str(three_steps), "folder": str(tmp_path), "pairs": pairs}
    alone, *pairs = output_of("raced_exports.py", given, tmp_path)
    assert alone["codes"] == [0] and "config.json" in alone["files"]
    for pair in pairs:
        assert sorted(pair["codes"]) == [0, 2]
        assert (pair["files"], pair["beside"]) == (alone["files"], [])


def test_an_export_that_another_one_is_writing_is_refused(three_steps, here):
    Path("out.partial").mkdir()
    with lock(Path("out.partial")):
        (line,) = refused(export, "--run", three_steps, "--merged", "out")
    assert line == "--merged out: another export is writing there; name another place."


@pytest.mark.parametrize("ending", [".partial", ".failed"])
def test_what_has_no_mark_of_ours_is_not_touched(three_steps, here, ending):
    """A folder of the user's own, a file, a link to a folder with files, and one that leads
    nowhere."""
    mine = here / "mine"
    mine.mkdir()
    (mine / MARK).touch()
    makes = (
        lambda path: path.mkdir() or (path / "notes.txt").touch(),
        lambda path: path.touch(),
        lambda path: path.symlink_to(mine),
        lambda path: path.symlink_to(here / "nowhere"),
    )
    for number, make in enumerate(makes):
        beside = here / f"out-{number}{ending}"
        make(beside)
        (line,) = refused(export, "--run", three_steps, "--adapter", f"out-{number}")
        assert f"{beside} is in the way" in line


def test_links_in_a_folder_of_ours_are_not_written_through(three_steps, here):
    victim = here / "victim"
    victim.write_text("mine")
    partial = here / "out.partial"
    partial.mkdir()
    (partial / MARK).touch()
    linked = "README.md", "model.safetensors", "model.safetensors.part", "run.json", f"{MARK}.tmp"
    for name in linked:
        (partial / name).symlink_to(victim)
    done = CliRunner().invoke(
        export.main, ["--run", str(three_steps), "--merged", "out", "--no-verify"]
    )
    assert (done.exit_code, victim.read_text()) == (0, "mine"), done.output
    assert not any(path.is_symlink() for path in (here / "out").iterdir())


def test_a_target_that_cannot_be_made_is_one_line(three_steps, here):
    (here / "dangling").symlink_to(here / "nowhere")
    (here / "loop").symlink_to(here / "loop")
    (here / "full").mkdir()
    (here / "full" / "file").touch()
    (here / "link").symlink_to(here / "full")
    for asked, said in {
        "/": "exists already", "dangling": "is a link", "loop": "is a link", "link": "is a link",
        "dangling/out": "dangling is a link that leads nowhere", "full": "exists already",
        "full/file/out": "cannot be written", ".": "exists already", "..": "exists already",
    }.items():  # fmt: skip
        (line,) = refused(export, "--run", three_steps, "--merged", asked)
        assert "--merged" in line and said in line


STOPS = """
import os, signal
def register_exporters(config):
    return {"stops": lambda run, folder, config: os.kill(os.getpid(), signal.SIGTERM)}
"""


def test_sigterm_is_one_line_and_leaves_no_folder(three_steps, here, monkeypatch):
    (here / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(here / "temporary"))
    (here / "stops.py").write_text(STOPS, encoding="utf-8")
    call = ["--run", three_steps, "--plugin", "stops.py", "--format", "stops=out"]
    done = CliRunner().invoke(export.main, list(map(str, call)))
    assert (done.exit_code, done.stderr) == (143, "Error: Stopped.\n")
    left = {path.name for path in (here / "temporary").iterdir()}
    assert not {name for name in left if not name.startswith("torchinductor_")}  # torch's cache
    assert sorted(path.name for path in here.iterdir()) == ["stops.py", "temporary"]
