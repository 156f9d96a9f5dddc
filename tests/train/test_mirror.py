"""A mirror holds what a new machine needs to continue; a mirror that fails stops nothing."""

import shutil

import pytest
from conftest import run_script

from threetoe.errors import UserError
from threetoe.options.train import TrainConfig
from threetoe.run.record import PARTIAL, RECORD
from threetoe.train.durable import checkpoint, resume
from threetoe.train.durable.mirror import LINKED, Mirror, check_mirror


def written(run, step):
    run.mkdir(exist_ok=True)
    (run / PARTIAL).write_text("{}")
    return checkpoint.write(run, step, {}, lambda to: (to / "x").write_bytes(b"abc" * step))


def test_a_new_machine_finds_the_latest_checkpoint_in_the_mirror(tmp_path):
    run, drive = tmp_path / "run", tmp_path / "drive"
    mirror = Mirror(drive, run, 2)
    for step in (1, 2, 3):
        mirror.copy(written(run, step))
        mirror.thread.join()
    assert [path.name for path in checkpoint.found_in(drive / "run")] == [
        "checkpoint-3", "checkpoint-2",
    ]  # fmt: skip
    assert not list(run.glob(f"*{LINKED}"))
    config = TrainConfig(mirror=drive)
    assert resume.find(config, run)[0].folder == run / "checkpoint-3"
    shutil.rmtree(run)
    assert resume.find(config, run)[0].folder == drive / "run" / "checkpoint-3"


def test_a_copy_without_its_manifest_is_not_taken(tmp_path):
    run, drive = tmp_path / "run", tmp_path / "drive"
    mirror = Mirror(drive, run, 2)
    mirror.copy(written(run, 1))
    mirror.thread.join()
    mirror.finish(written(run, 2))
    (drive / "run" / "checkpoint-2" / checkpoint.MANIFEST).unlink()
    shutil.rmtree(run)
    assert resume.find(TrainConfig(mirror=drive), run)[0].step == 1


def test_a_mirror_that_fails_is_said_once_and_stops_nothing(tmp_path, capsys):
    run, drive = tmp_path / "run", tmp_path / "drive"
    drive.write_text("a file where a folder should be")
    mirror = Mirror(drive, run, 2)
    for step in (1, 2):
        mirror.copy(written(run, step))
        mirror.thread.join()
    mirror.finish(run / "checkpoint-2")
    mirror.finish(None)
    said = capsys.readouterr().err
    assert said.count("--mirror") == 1 and "the training goes on" in said
    assert "is in" not in said


def test_a_place_that_holds_a_run_or_is_the_run_is_refused(tmp_path):
    run, drive = tmp_path / "run", tmp_path / "drive"
    with pytest.raises(UserError, match="is where the run is written"):
        check_mirror(tmp_path, run, False)
    (drive / "run").mkdir(parents=True)
    (drive / "run" / RECORD).write_text("{}")
    with pytest.raises(UserError, match="already holds a finished run"):
        check_mirror(drive, run, False)
    check_mirror(drive, run, True)
    (drive / "run" / "data.json").symlink_to(tmp_path / "mine")
    with pytest.raises(UserError, match="holds other files, or links"):
        check_mirror(drive, run, True)
    (drive / "other").mkdir()
    (drive / "other" / "thesis.txt").touch()
    with pytest.raises(UserError, match="holds other files, or links"):
        check_mirror(drive, tmp_path / "other", False)


def test_the_finished_run_is_in_the_mirror_too_and_can_be_asked(tmp_path):
    printed = run_script(
        "train.py", "--max-steps", 2, "--output-dir", "run", "--mirror", "drive", cwd=tmp_path
    )
    assert "the run is in drive/run too" in printed.stderr
    names = [{path.name for path in (tmp_path / at).iterdir()} for at in ("run", "drive/run")]
    assert names[0] == names[1] and RECORD in names[0]
