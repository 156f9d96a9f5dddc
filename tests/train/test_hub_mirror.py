"""A branch on the Hub is a mirror too: private, one checkpoint, and no secret is said."""

import shutil
from types import SimpleNamespace

import pytest
from conftest import run_script
from hub_server import TOKEN, hub_fixture  # noqa: F401

from threetoe.errors import UserError
from threetoe.options.train import TrainConfig
from threetoe.run.record import PARTIAL, RECORD
from threetoe.train.durable import checkpoint, resume
from threetoe.train.durable.mirror import Mirror, check_mirror

MIRROR, BRANCH = "hub:ada/model", "checkpoints-run"


@pytest.fixture
def impatient(monkeypatch):
    """The client's and our own retries come at once."""
    import huggingface_hub.utils._http as client

    monkeypatch.setattr(client, "time", SimpleNamespace(sleep=lambda seconds: None))
    monkeypatch.setattr("threetoe.machine.hub_upload.RETRY_SECONDS", (0, 0))


def fill(step):
    def write(to):
        (to / "trained.safetensors").write_bytes(b"abc" * step)
        (to / "metrics.jsonl").write_text("{}\n" * step, encoding="utf-8")

    return write


def mirrored(run, *steps) -> Mirror:
    """A mirror that has copied checkpoints of these steps, one after the other."""
    run.mkdir(exist_ok=True)
    (run / PARTIAL).write_text("{}")
    mirror = Mirror(MIRROR, run, 2)
    for step in steps:
        mirror.copy(checkpoint.write(run, step, {"seconds": 0.1}, fill(step)))
        mirror.thread.join()
    return mirror


def test_a_new_machine_finds_the_latest_checkpoint_on_a_private_branch(hub, tmp_path):
    run = tmp_path / "run"
    mirrored(run, 1, 2, 3)
    there = {path.name: path.read_bytes() for path in (run / "checkpoint-3").iterdir()}
    on_hub = hub.files("ada/model", BRANCH)
    assert {name: on_hub[name] for name in there} == there
    assert on_hub.keys() - there.keys() == {".gitattributes"}
    assert hub.repos["ada/model"]["private"]
    assert len(hub.repos["ada/model"]["branches"][BRANCH]) == 1
    shutil.rmtree(run)
    found, _ = resume.find(TrainConfig(mirror=MIRROR), run)
    assert (found.step, found.facts) == (3, {"seconds": 0.1})
    assert {name: (found.folder / name).read_bytes() for name in there} == there


def test_without_a_checkpoint_there_a_training_begins_anew(hub, tmp_path):
    assert resume.find(TrainConfig(mirror=MIRROR), tmp_path / "run")[0] is None
    hub.add_repo("ada/model", private=True)
    check_mirror(MIRROR, tmp_path / "run", False)
    assert resume.find(TrainConfig(mirror=MIRROR), tmp_path / "run")[0] is None


def test_an_altered_checkpoint_on_the_hub_is_not_taken(hub, tmp_path):
    hub.spoiled["manifest.json"] = b'{"step": 1, "files": {}, "facts": {}, "sha256": "0"}'
    mirrored(tmp_path / "run", 1)
    shutil.rmtree(tmp_path / "run")
    found, (line,) = resume.find(TrainConfig(mirror=MIRROR), tmp_path / "run")
    assert found is None
    assert line.endswith(f"branch {BRANCH}, is passed over: manifest.json was altered")


def test_cuts_and_too_many_requests_are_waited_for(hub, tmp_path, impatient, capsys):
    for method, path, status in [
        ("POST", "/repos/create", 429), ("POST", "/commit/", 429), ("PUT", "/lfs/", 0),
        ("POST", "/commit/", -2), ("POST", "/super-squash/", 500),
    ]:  # fmt: skip
        hub.fail(method, path, status, times=1)
    mirror = mirrored(tmp_path / "run", 1, 2)
    mirror.finish(tmp_path / "run" / "checkpoint-2")
    said = capsys.readouterr().err
    assert f"checkpoint-2 is in hub:ada/model, branch {BRANCH}, too" in said
    assert len(hub.files("ada/model", BRANCH)["trained.safetensors"]) == 6


@pytest.mark.parametrize("path", ["/repos/create", "/branch/", "/preupload/", "/commit/"])
def test_a_hub_that_fails_is_said_once_without_the_token(hub, tmp_path, impatient, capfd, path):
    hub.fail("POST", path, 403)
    mirror = mirrored(tmp_path / "run", 1, 2)
    mirror.finish(None)
    said = "".join(capfd.readouterr())
    assert said.count("--mirror: hub:ada/model") == 1 and "the training goes on" in said
    assert "is in hub" not in said
    assert TOKEN not in said and "Signature" not in said and "Traceback" not in said


def test_a_public_repo_a_finished_run_and_another_user_are_refused(hub, tmp_path):
    run = tmp_path / "run"
    hub.add_repo("ada/open")
    with pytest.raises(UserError, match="hub:ada/open: that repo is public"):
        check_mirror("hub:ada/open", run, False)
    with pytest.raises(UserError, match="cannot push to 'eve/...'"):
        check_mirror("hub:eve/model", run, False)
    mirror = mirrored(run, 1)
    shutil.rmtree(run / "checkpoint-1")
    (run / RECORD).write_text("{}")
    mirror.finish(None)
    assert checkpoint.MANIFEST not in hub.files("ada/model", BRANCH)
    with pytest.raises(UserError, match="already holds a finished run"):
        check_mirror(MIRROR, run, False)
    check_mirror(MIRROR, run, True)


def test_names_that_no_branch_has_get_branches_of_their_own(tmp_path):
    names = [Mirror(MIRROR, tmp_path / name, 2).place.branch for name in ("数据", "表格", "a b")]
    assert len(set(names)) == 3 and all(name.isascii() and " " not in name for name in names)


def test_a_trained_run_is_on_its_branch(hub, tmp_path):
    printed = run_script(
        "train.py", "--max-steps", 2, "--output-dir", "run", "--mirror", MIRROR, cwd=tmp_path
    )
    assert f"the run is in hub:ada/model, branch {BRANCH}, too" in printed.stderr
    on_hub = hub.files("ada/model", BRANCH)
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == {
        name: data for name, data in on_hub.items() if name != ".gitattributes"
    }
