"""The Hub: refusals before a push, the push itself, and what arrived.

Everything runs through the real huggingface_hub client against the server in hub_server.py.
"""

import json
import subprocess
import sys
import traceback
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import refused
from hub_server import TOKEN, hub_fixture, reread_environment, xet_hub_fixture  # noqa: F401
from huggingface_hub import snapshot_download
from huggingface_hub.utils import HFValidationError, validate_repo_id

import export
from threetoe.errors import UserError
from threetoe.export.push import push_folder
from threetoe.machine.hub import check_push, check_repo_id
from threetoe.machine.hub_upload import PushError


def problems(repo_id: str) -> list[str]:
    with pytest.raises(UserError) as raised:
        check_push(repo_id)
    assert TOKEN not in "".join(traceback.format_exception(raised.value))
    return raised.value.problems


def complaint(folder, private: bool = False) -> str:
    with pytest.raises(PushError) as raised:
        push_folder(folder, "ada/model", private, "a message")
    assert TOKEN not in "".join(traceback.format_exception(raised.value))
    return str(raised.value)


@pytest.fixture
def folder(tmp_path):
    """A folder to push: small text files and weights that are large enough for LFS."""
    folder = tmp_path / "adapter"
    (folder / "sub").mkdir(parents=True)
    (folder / "README.md").write_text("# A card\n", encoding="utf-8")
    (folder / "adapter_config.json").write_text('{"r": 16}', encoding="utf-8")
    (folder / "sub" / "notes.txt").write_text("中文\r\n", encoding="utf-8")
    (folder / "empty.txt").touch()
    (folder / "adapter_model.safetensors").write_bytes(bytes(range(256)) * 45_000)  # 11.5 MB
    return folder


@pytest.fixture
def small(folder):
    """The same with weights of a kilobyte: their name sends them through LFS all the same."""
    (folder / "adapter_model.safetensors").write_bytes(bytes(1024))
    return folder


@pytest.fixture
def waits(monkeypatch):
    """The seconds that the client's retries would have waited; the retries themselves happen."""
    waited = []
    import huggingface_hub.utils._http as client

    monkeypatch.setattr(client, "time", SimpleNamespace(sleep=waited.append))
    monkeypatch.setattr("threetoe.machine.hub_upload.RETRY_SECONDS", (0, 0))
    return waited


def contents(folder) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


# Before a push


@pytest.mark.parametrize("repo_id", ["ada/model", "ada/my_Model-1.0", "a/b", "1/2", "_a/b_"])
def test_a_repo_id_that_the_client_accepts_is_accepted(repo_id):
    validate_repo_id(repo_id)
    assert check_repo_id(repo_id) == tuple(repo_id.split("/"))


@pytest.mark.parametrize(
    "repo_id",
    ["a/b/c", "a/b c", "a/模型", "a/", "/b", "a/-b", "a/b.", "a/b--c", "a/b..c", "a/b.git", ".a/b"],
)
def test_a_repo_id_that_the_client_refuses_is_refused(repo_id):
    with pytest.raises(HFValidationError):
        validate_repo_id(repo_id)
    with pytest.raises(UserError, match="looks like user/model"):
        check_repo_id(repo_id)


@pytest.mark.parametrize("repo_id", ["model", "", "https://hf.co/ada/model", "a/" + "b" * 97])
def test_a_repo_id_without_one_user_and_one_model_is_refused(repo_id):
    with pytest.raises(UserError, match="looks like user/model"):
        check_repo_id(repo_id)


def test_a_user_who_may_push_is_named(hub):
    assert check_push("ada/model") == "ada"
    assert check_push("engines/model") == "ada"


def test_nothing_is_written_by_the_checks(hub):
    check_push("ada/model")
    assert {method for method, _, _ in hub.requests} == {"GET"}


def test_a_missing_token_says_how_to_get_one(hub, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    (problem,) = problems("ada/model")
    assert "set HF_TOKEN or run `hf auth login`" in problem


def test_the_saved_login_is_used(hub, monkeypatch, tmp_path):
    monkeypatch.delenv("HF_TOKEN")
    (tmp_path / "hf-home").mkdir(exist_ok=True)
    (tmp_path / "hf-home" / "token").write_text(TOKEN, encoding="utf-8")
    assert check_push("ada/model") == "ada"


def test_a_malformed_id_and_a_missing_token_are_reported_together(hub, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    form, token = problems("model")
    assert "user/model" in form and "HF_TOKEN" in token


def test_a_token_that_the_hub_refuses_is_named_so(hub):
    hub.users.clear()
    (problem,) = problems("ada/model")
    assert "refuses the token (401)" in problem and f"{hub.endpoint}/settings/tokens" in problem


def test_a_read_token_is_refused(hub):
    hub.add_user("ada", role="read")
    (problem,) = problems("ada/model")
    assert "may not write to ada/model" in problem


def test_a_forbidden_whoami_is_a_missing_permission(hub):
    hub.fail("GET", "whoami", 403)
    (problem,) = problems("ada/model")
    assert "may not write" in problem


@pytest.mark.parametrize("entity", ["ada", "ada/model"])
def test_a_fine_grained_token_that_writes_to_the_user_or_the_repo_is_enough(hub, entity):
    hub.add_user("ada", role="fineGrained", scoped=[scope(entity, "repo.write")])
    assert check_push("ada/model") == "ada"


@pytest.mark.parametrize(
    ("entity", "permission"), [("ada", "repo.content.read"), ("ada/other", "repo.write")]
)
def test_a_fine_grained_token_for_other_things_is_refused(hub, entity, permission):
    hub.add_user("ada", role="fineGrained", scoped=[scope(entity, permission)])
    (problem,) = problems("ada/model")
    assert "may not write to ada/model" in problem


def scope(entity: str, permission: str) -> dict:
    return {"entity": {"type": "user", "name": entity}, "permissions": [permission]}


def test_a_namespace_of_someone_else_is_refused_with_the_close_one(hub):
    (problem,) = problems("engine/model")
    assert "cannot push to 'engine/...'" in problem
    assert "Did you mean 'engines'?" in problem and "Theirs: ada, engines, readers" in problem


def test_an_organization_where_the_user_only_reads_is_refused(hub):
    (problem,) = problems("readers/model")
    assert "only has the role 'read' in 'readers'" in problem


def test_an_unreachable_hub_is_named(hub, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    reread_environment()
    (problem,) = problems("ada/model")
    assert "The Hub at http://127.0.0.1:9 cannot be reached" in problem


def test_a_hub_that_cuts_the_connection_is_named(hub):
    hub.fail("GET", "whoami", 0)
    (problem,) = problems("ada/model")
    assert f"{hub.endpoint} cannot be reached" in problem


def test_a_hub_that_never_answers_is_given_up(hub, monkeypatch):
    monkeypatch.setattr("threetoe.machine.hub.ANSWER_SECONDS", 0.2)
    hub.fail("GET", "whoami", -1)
    (problem,) = problems("ada/model")
    assert "cannot be reached: timed out" in problem


def test_a_hub_in_trouble_is_named_with_its_status(hub):
    hub.fail("GET", "whoami", 500)
    (problem,) = problems("ada/model")
    assert "answers 500" in problem


def test_something_else_at_the_endpoint_is_named(hub):
    hub.fail("GET", "whoami", 200)
    (problem,) = problems("ada/model")
    assert "does not answer as the Hub does" in problem


def test_a_token_with_impossible_characters_is_refused_unseen(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_sécret")
    (problem,) = problems("ada/model")
    assert "set HF_TOKEN anew" in problem and "cret" not in problem


def test_offline_mode_is_named(hub, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    reread_environment()
    (problem,) = problems("ada/model")
    assert "HF_HUB_OFFLINE is set" in problem


# The push


def test_a_push_arrives_whole(hub, folder):
    assert push_folder(folder, "ada/model", False, "From a test") == f"{hub.endpoint}/ada/model"
    arrived = hub.files("ada/model")
    del arrived[".gitattributes"]
    assert arrived == contents(folder)


def test_large_weights_go_through_lfs_and_text_does_not(hub, folder):
    push_folder(folder, "ada/model", False, "From a test")
    assert len(hub.asked("PUT", "/lfs/")) == 1
    (body,) = hub.asked("POST", "/commit/main")
    header, *lines = map(json.loads, body.splitlines())
    assert header["value"]["summary"] == "From a test"
    assert [line["value"]["path"] for line in lines if line["key"] == "lfsFile"] == [
        "adapter_model.safetensors"
    ]


def test_a_push_through_xet_arrives_whole(xet_hub, folder):
    assert push_folder(folder, "ada/model", False, "From a test") == f"{xet_hub.endpoint}/ada/model"
    stored = sum(path.stat().st_size for path in Path(xet_hub.cas).rglob("*") if path.is_file())
    assert not xet_hub.objects and stored > 0
    assert xet_hub.files("ada/model")["adapter_config.json"] == b'{"r": 16}'


def test_a_push_through_xet_that_arrives_wrong_is_named(xet_hub, small):
    xet_hub.spoiled["adapter_model.safetensors"] = bytes([1] * 1024)
    assert "safetensors has other content" in complaint(small)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/xet-write-token/", 403), ("POST", "/commit/main", 500), ("POST", "/commit/", 0)],
)
def test_a_failure_through_xet_names_its_step_and_no_token(
    xet_hub, small, waits, method, path, status
):
    xet_hub.fail(method, path, status)
    assert complaint(small).startswith("Uploading to ada/model failed: ")


def test_what_was_pushed_can_be_downloaded_again(hub, folder, tmp_path):
    push_folder(folder, "ada/model", False, "From a test")
    copy = snapshot_download("ada/model", local_dir=tmp_path / "copy", ignore_patterns=".git*")
    downloaded = contents(tmp_path / "copy")
    assert copy == str(tmp_path / "copy")
    assert {n: downloaded[n] for n in downloaded if not n.startswith(".cache")} == contents(folder)


def test_a_downloaded_folder_is_pushed_without_its_cache(hub, folder):
    (folder / ".cache" / "huggingface").mkdir(parents=True)
    (folder / ".cache" / "huggingface" / "README.md.metadata").write_text("x", encoding="utf-8")
    push_folder(folder, "ada/model", False, "From a test")
    assert not [name for name in hub.files("ada/model") if name.startswith(".cache")]


def test_a_child_process_pushes_to_the_same_hub_quietly(hub, folder):
    code = "import sys, pathlib; from threetoe.export import push; "
    code += "from threetoe.machine import hub; hub.check_push('ada/x'); "
    code += "print(push.push_folder(pathlib.Path(sys.argv[1]), 'ada/x', False, 'm'))"
    ran = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True)
    assert (ran.stdout, ran.stderr) == (f"{hub.endpoint}/ada/x\n", "")


def test_an_existing_repo_is_updated_and_its_other_files_stay(hub, folder):
    hub.add_repo("ada/model", files={"adapter_config.json": b"old", "other.txt": b"kept"})
    push_folder(folder, "ada/model", False, "From a test")
    arrived = hub.files("ada/model")
    assert arrived["adapter_config.json"] == b'{"r": 16}' and arrived["other.txt"] == b"kept"


def test_pushing_twice_changes_nothing_and_is_no_error(hub, folder):
    push_folder(folder, "ada/model", False, "From a test")
    push_folder(folder, "ada/model", False, "From a test")
    assert len(hub.asked("POST", "/commit/main")) == 1


@pytest.mark.parametrize("private", [True, False])
def test_the_private_flag_is_sent(hub, folder, private):
    push_folder(folder, "ada/model", private, "From a test")
    assert hub.repos["ada/model"]["private"] == private


def test_a_private_push_to_a_public_repo_uploads_nothing(hub, small):
    hub.add_repo("ada/model")
    assert "already exists and is public; nothing was uploaded" in complaint(small, private=True)
    assert list(hub.files("ada/model")) == [".gitattributes"]


def test_a_private_push_to_a_private_repo_is_fine(hub, small):
    hub.add_repo("ada/model", private=True)
    assert push_folder(small, "ada/model", True, "From a test")


# What arrived


@pytest.mark.parametrize(
    ("name", "arrives", "phrase"),
    [
        ("adapter_config.json", None, "adapter_config.json is missing"),
        ("adapter_config.json", b'{"r": 99}', "adapter_config.json has other content"),
        ("adapter_config.json", b"{}", "adapter_config.json has 2 bytes instead of 9"),
        ("adapter_model.safetensors", None, "adapter_model.safetensors is missing"),
        ("adapter_model.safetensors", b"cut", "has 3 bytes instead of 1024"),
        ("adapter_model.safetensors", bytes([1] * 1024), "safetensors has other content"),
        ("sub/notes.txt", None, "sub/notes.txt is missing"),
    ],
)
def test_a_file_that_arrives_wrong_is_named(hub, small, name, arrives, phrase):
    hub.spoiled[name] = arrives
    assert phrase in complaint(small)


def test_every_wrong_file_is_named(hub, small):
    hub.spoiled |= {"adapter_config.json": None, "README.md": b"?"}
    message = complaint(small)
    assert "README.md has 1 bytes" in message and "adapter_config.json is missing" in message


# A push that fails


@pytest.mark.parametrize("status", [401, 403, 409, 429, 500, 0])
@pytest.mark.parametrize(
    ("method", "path", "step"),
    [
        ("POST", "/commit/main", "Uploading to ada/model"),
        ("GET", "/tree/", "Listing ada/model"),
        ("PUT", "/lfs/", "Uploading to ada/model"),
        ("POST", "/preupload/", "Uploading to ada/model"),
    ],
)
def test_a_failure_names_its_step_and_no_token(hub, small, waits, method, path, step, status):
    hub.fail(method, path, status)
    assert complaint(small).startswith(f"{step} failed: ")


@pytest.mark.parametrize("status", [401, 403, 500, 0])
def test_a_repo_that_cannot_be_created_fails_so(hub, small, status):
    hub.fail("POST", "/repos/create", status)
    assert complaint(small).startswith("Creating ada/model failed: ")


def test_a_failed_upload_names_file_and_reason_without_the_signed_url(hub, small, waits):
    hub.fail("PUT", "/lfs/", 500)
    message = complaint(small)
    assert "adapter_model.safetensors" in message and "500" in message
    assert "Signature" not in message and "\n" not in message


def test_an_upload_is_tried_again_before_it_fails(hub, small, waits):
    hub.fail("PUT", "/lfs/", 500)
    complaint(small)
    assert len(hub.asked("PUT", "/lfs/")) == 6 and waits == [1, 2, 4, 8, 8]


@pytest.mark.parametrize("status", [500, 0])
def test_a_passing_trouble_is_survived(hub, small, waits, status):
    hub.fail("PUT", "/lfs/", status, times=2)
    push_folder(small, "ada/model", False, "From a test")
    assert hub.files("ada/model")["adapter_config.json"] == b'{"r": 16}' and len(waits) == 2


def test_a_public_repo_is_refused_with_private_before_anything_is_written(hub, three_steps, here):
    hub.add_repo("ada/model")
    (line,) = refused(export, "--run", three_steps, "--push", "ada/model", "--private")
    said = "--private: ada/model already exists and is public; nothing was uploaded."
    assert line.startswith(said)
