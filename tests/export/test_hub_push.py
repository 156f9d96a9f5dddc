"""Pushes to branches and pull requests, over older exports, and through all kinds of trouble.

Everything runs through the real huggingface_hub client against the server in hub_server.py.
"""

import hashlib
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from hub_server import TOKEN, hub_fixture, reread_environment, xet_hub_fixture  # noqa: F401

import export
from threetoe.errors import UserError
from threetoe.export.push import push_folder
from threetoe.machine.hub import check_push
from threetoe.machine.hub_upload import PushError

MEGABYTE = 2**20


@pytest.fixture
def folder(tmp_path):
    """An exported adapter, as small as one can be."""
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "README.md").write_text("# A card\n", encoding="utf-8")
    (folder / "run.json").write_text("{}", encoding="utf-8")
    (folder / "adapter_config.json").write_text('{"r": 16}', encoding="utf-8")
    (folder / "adapter_model.safetensors").write_bytes(bytes(1024))
    return folder


@pytest.fixture
def impatient(monkeypatch):
    """The client's and our own retries come at once."""
    import huggingface_hub.utils._http as client

    monkeypatch.setattr(client, "time", SimpleNamespace(sleep=lambda seconds: None))
    monkeypatch.setattr("threetoe.machine.hub_upload.RETRY_SECONDS", (0, 0))


def pushed(folder, repo_id="ada/model", private=False, **options) -> str:
    return push_folder(folder, repo_id, private, "From a test", **options)


def complaint(folder, **options) -> str:
    with pytest.raises(PushError) as raised:
        pushed(folder, **options)
    return str(raised.value)


def commits(hub, branch="main", repo_id="ada/model") -> int:
    return len(hub.repos[repo_id]["branches"][branch])


# Branches and pull requests


def test_a_branch_is_made_and_main_stays_as_it_was(hub, folder):
    url = pushed(folder, revision="v2")
    assert url == f"{hub.endpoint}/ada/model/tree/v2"
    assert "adapter_config.json" in hub.files("ada/model", "v2")
    assert list(hub.files("ada/model")) == [".gitattributes"]


def test_a_branch_with_a_slash_is_a_branch(hub, folder):
    pushed(folder, revision="test/two")
    assert "adapter_config.json" in hub.files("ada/model", "test/two")


def test_a_branch_that_is_there_is_pushed_to_again(hub, folder):
    pushed(folder, revision="v2")
    (folder / "adapter_config.json").write_text('{"r": 8}', encoding="utf-8")
    pushed(folder, revision="v2")
    assert hub.files("ada/model", "v2")["adapter_config.json"] == b'{"r": 8}'


def test_the_revision_main_is_main(hub, folder):
    assert pushed(folder, revision="main") == f"{hub.endpoint}/ada/model"


def test_what_arrives_wrong_on_a_branch_is_named(hub, folder):
    hub.spoiled["run.json"] = None
    assert "run.json is missing" in complaint(folder, revision="v2")


def test_a_branch_that_cannot_be_made_is_named(hub, folder):
    hub.fail("POST", "/branch/", 403)
    assert complaint(folder, revision="v2").startswith("Making the branch v2 of ada/model failed")


@pytest.mark.parametrize("way", ["hub", "xet_hub"])
def test_a_pull_request_holds_the_files_and_main_does_not(way, folder, request):
    hub = request.getfixturevalue(way)
    url = pushed(folder, create_pr=True)
    assert url == f"{hub.endpoint}/ada/model/discussions/1"
    assert "adapter_config.json" in hub.files("ada/model", "refs/pr/1")
    assert list(hub.files("ada/model")) == [".gitattributes"]


@pytest.mark.parametrize("way", ["hub", "xet_hub"])
def test_a_pull_request_that_arrives_wrong_is_named(way, folder, request):
    request.getfixturevalue(way).spoiled["run.json"] = b"?"
    assert "run.json has 1 bytes instead of 2" in complaint(folder, create_pr=True)


def test_a_pull_request_may_go_to_someone_elses_repo(hub, folder):
    hub.add_user("eve", token="hf_eve")
    hub.add_repo("eve/model")
    assert check_push("eve/model", create_pr=True) == "ada"
    pushed(folder, "eve/model", create_pr=True)
    assert "run.json" in hub.files("eve/model", "refs/pr/1")


def test_a_pull_request_to_a_repo_that_is_not_there_is_refused(hub):
    with pytest.raises(UserError, match="--create-pr: the Hub has no eve/model"):
        check_push("eve/model", create_pr=True)


def test_a_pull_request_against_a_branch_is_refused(hub):
    with pytest.raises(UserError, match="leave out --revision v2"):
        check_push("ada/model", create_pr=True, revision="v2")


# Over an older export


MERGED = {
    "run.json": b"{}",
    "model-00001-of-00002.safetensors": b"1",
    "model-00002-of-00002.safetensors": b"2",
    "model.safetensors.index.json": b"{}",
    "config.json": b"{}",
    "tokenizer.json": b"{}",
}
THEIRS = {"LICENSE": b"x", "logo.png": b"x", "checkpoints/model.safetensors": b"x", "notes": b"x"}


@pytest.mark.parametrize("way", ["hub", "xet_hub"])
def test_weights_of_an_older_export_are_removed_in_the_same_commit(way, folder, request, capfd):
    hub = request.getfixturevalue(way)
    hub.add_repo("ada/model", files=MERGED | THEIRS)
    pushed(folder)
    there = set(hub.files("ada/model")) - {".gitattributes"}
    assert there == {path.name for path in folder.iterdir()} | set(THEIRS)
    assert commits(hub) == 2
    said = capfd.readouterr().err
    for name in MERGED.keys() - {"run.json"}:
        assert name in said.splitlines()[0]
    assert "left as it was: LICENSE, checkpoints/model.safetensors, logo.png, notes" in said


def test_nothing_is_removed_from_a_repo_that_is_no_export(hub, folder, capfd):
    hub.add_repo("ada/model", files={"model.safetensors": b"1", "config.json": b"{}"})
    pushed(folder)
    assert {"model.safetensors", "config.json"} <= set(hub.files("ada/model"))
    assert "left as it was: config.json, model.safetensors" in capfd.readouterr().err


def test_an_export_over_itself_removes_and_says_nothing(hub, folder, capfd):
    pushed(folder)
    pushed(folder)
    assert capfd.readouterr().err == "" and commits(hub) == 2


# Trouble that passes


@pytest.mark.parametrize("status", [409, 412, 429, 500, 503, 0])
@pytest.mark.parametrize("step", ["/preupload/", "/commit/main", "/lfs/objects/batch"])
def test_trouble_that_passes_is_waited_for(hub, folder, impatient, status, step):
    hub.fail("POST", step, status, times=2)
    pushed(folder)
    assert commits(hub) == 2 and "run.json" in hub.files("ada/model")


def test_a_second_try_is_said(hub, folder, impatient, capfd):
    hub.fail("POST", "/commit/", 409, times=1)
    hub.fail("POST", "/commit/", 0, times=1)
    pushed(folder)
    assert capfd.readouterr().err == (
        "the Hub answers 409; trying again in 0 s\n"
        "the Hub cannot be reached (RemoteProtocolError); trying again in 0 s\n"
    )


def test_the_wait_that_the_hub_asks_for_is_kept(hub, folder, capfd):
    hub.fail("POST", "/commit/", 429, times=1, Retry_After="1")
    began = time.monotonic()
    pushed(folder)
    assert time.monotonic() - began >= 1
    assert "the Hub answers 429; trying again in 1 s" in capfd.readouterr().err


def test_a_wait_of_an_hour_is_not_waited_for(hub, folder):
    hub.fail("POST", "/commit/", 429, Retry_After="3600")
    began = time.monotonic()
    assert "429" in complaint(folder)
    assert time.monotonic() - began < 3


@pytest.mark.parametrize("status", [409, 500])
def test_trouble_that_does_not_pass_ends_in_one_line(hub, folder, impatient, status):
    hub.fail("POST", "/commit/main", status)
    said = complaint(folder)
    assert said.startswith("Uploading to ada/model failed: ") and str(status) in said
    assert len(hub.asked("POST", "/commit/main")) == 3


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_is_not_repeated(hub, folder, status):
    hub.fail("POST", "/commit/main", status)
    assert str(status) in complaint(folder)
    assert len(hub.asked("POST", "/commit/main")) == 1


def test_a_commit_whose_answer_is_lost_is_not_made_twice(hub, folder, impatient):
    hub.fail("POST", "/commit/main", -2, times=1)
    pushed(folder)
    assert commits(hub) == 2


def test_a_pull_request_whose_answer_is_lost_is_not_opened_twice(hub, folder, impatient):
    hub.fail("POST", "/commit/main", -2, times=1)
    complaint(folder, create_pr=True)
    assert [name for name in hub.repos["ada/model"]["branches"] if "pr" in name] == ["refs/pr/1"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/repos/create"),
        ("GET", "/tree/"),
        ("POST", "/preupload/"),
        ("PUT", "/lfs/"),
        ("POST", "/commit/"),
    ],
)
def test_a_hub_that_never_answers_is_given_up(hub, folder, impatient, monkeypatch, method, path):
    monkeypatch.setattr("threetoe.machine.hub_upload.READ_SECONDS", 0.2)
    hub.fail(method, path, -3)
    began = time.monotonic()
    assert "timed out" in complaint(folder)
    assert time.monotonic() - began < 10


# A push that was killed


PUSH = """
import sys
from pathlib import Path
from threetoe.export.push import push_folder

print(push_folder(Path(sys.argv[1]), "ada/model", False, "From a test"))
"""


@pytest.fixture
def shards(folder):
    """The folder with three more weights of a MB each, all different."""
    for number in range(3):
        (folder / f"model-{number}.safetensors").write_bytes(bytes([number]) * MEGABYTE)
    return folder


def kill_when(folder, happened) -> None:
    """Start a push in a process of its own, and end it once that happened."""
    process = subprocess.Popen([sys.executable, "-c", PUSH, folder], stderr=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while not happened() and time.monotonic() < until:
        time.sleep(0.05)
    process.kill()
    process.wait()


def test_what_arrived_before_a_push_was_killed_is_not_sent_again(hub, shards):
    hub.fail("POST", "/commit/", -3, times=1)
    kill_when(shards, lambda: hub.asked("POST", "/commit/"))
    assert len(hub.asked("PUT", "/lfs/")) == 4 and commits(hub) == 1
    pushed(shards)
    assert len(hub.asked("PUT", "/lfs/")) == 4 and commits(hub) == 2


def test_only_what_is_missing_is_sent_after_a_push_was_killed_in_between(hub, shards):
    last = sorted(path.name for path in shards.glob("model-*"))[-1]
    stuck = hashlib.sha256((shards / last).read_bytes()).hexdigest()
    hub.fail("PUT", stuck, -3, times=1)
    kill_when(shards, lambda: len(hub.objects) == 3)
    sent = len(hub.asked("PUT", "/lfs/"))
    pushed(shards)
    assert len(hub.asked("PUT", "/lfs/")) == sent + 1
    assert len(hub.asked("PUT", stuck)) == 2


def test_what_xet_stored_before_a_push_was_killed_is_not_stored_again(xet_hub, shards):
    import random

    for path in shards.glob("model-*"):
        path.write_bytes(random.Random(path.name).randbytes(MEGABYTE))
    xet_hub.fail("POST", "/commit/", -3, times=1)
    kill_when(shards, lambda: xet_hub.asked("POST", "/commit/"))
    before = stored(xet_hub)
    pushed(shards)
    assert before > 3 * MEGABYTE and stored(xet_hub) < before + MEGABYTE // 10


def stored(hub) -> int:
    return sum(path.stat().st_size for path in Path(hub.cas).rglob("*") if path.is_file())


# The token


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("PUT", "/lfs/", 500), ("POST", "/commit/", 403), ("POST", "/preupload/", 0)],
)
def test_neither_token_nor_signed_url_is_printed(hub, folder, method, path, status):
    hub.fail(method, path, status)
    code = PUSH.replace(
        "import sys\n", "import sys, threetoe.export.push, huggingface_hub.utils._http as c\n"
    )
    code = code.replace("print", "c.time.sleep = lambda s: 0\nprint")
    ran = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True)
    assert ran.returncode and "PushError" in ran.stderr
    assert TOKEN not in ran.stdout + ran.stderr
    assert "Signature" not in ran.stdout + ran.stderr


def test_what_a_plugin_raised_is_told_beside_a_push_that_failed(hub, three_steps, here):
    Path("late.py").write_text("def after_export():\n    raise OSError('full')\n")
    hub.fail("POST", "/commit/main", 403)
    asked = ["--run", three_steps, "--adapter", "out", "--plugin", "late.py", "--push", "ada/model"]
    done = CliRunner().invoke(export.main, [str(arg) for arg in asked])
    pushing, plugin = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert done.exit_code == 1 and "403" in pushing
    assert "Plugin late.py raised in after_export" in plugin and Path("out").is_dir()
