"""train.py --push-to and what is typed by mistake: nothing starts, and no token is repeated."""

import importlib.util

import pytest
from conftest import ROOT, refused, run_script
from hub_server import TOKEN, hub_fixture  # noqa: F401  the fixture `hub`


def script(name: str):
    spec = importlib.util.spec_from_file_location(f"{name}_script", ROOT / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_where_to_push_is_checked_before_training(hub, here):
    found = refused(script("train"), "--push-to", "engine/model", "--dataset", "nothing")
    assert any("cannot push to 'engine/...'" in line for line in found)
    assert any("nothing" in line for line in found)


@pytest.mark.parametrize("call", [["train", "--push-to"], ["export", "--push"], ["infer", "--run"]])
def test_a_token_typed_as_a_value_is_not_repeated(hub, here, call):
    found = refused(script(call[0]), call[1], TOKEN)
    assert "it is in the shell's history now: revoke it" in found[0]
    assert TOKEN not in "\n".join(found)


@pytest.mark.parametrize("arguments", [["--token", TOKEN], [f"--token={TOKEN}"], [TOKEN]])
def test_a_token_typed_as_an_option_is_not_repeated(hub, here, arguments):
    found = refused(script("export"), *arguments)
    assert "shell's history" in found[0] and TOKEN not in "\n".join(found)


def test_a_flag_for_the_token_does_not_exist_and_says_so(hub, here):
    found = refused(script("export"), "--token", "x")
    assert "the token is read from HF_TOKEN, or from the saved login" in found[0]


def test_training_pushes_nothing_names_the_call_and_no_output_holds_the_token(hub, tmp_path):
    flags = ["--max-steps", 1, "--output-dir", "run"]
    done = run_script("train.py", *flags, "--push-to", "ada/model", cwd=tmp_path)
    assert done.stderr.splitlines()[-1].endswith("python export.py --run run --push ada/model")
    assert {method for method, _, _ in hub.requests} == {"GET"}
    pushed = run_script("export.py", "--run", "run", "--push", "ada/model", cwd=tmp_path)
    said = "".join([done.stdout, done.stderr, pushed.stdout, pushed.stderr])
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 5 and "ada/model" in said
    for holder in [said.encode(), *(path.read_bytes() for path in files)]:
        assert TOKEN.encode() not in holder
    for name, data in hub.files("ada/model").items():
        assert TOKEN.encode() not in data and str(tmp_path).encode() not in data, name
