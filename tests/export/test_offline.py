"""Names on the Hub where there is no Hub: one line, soon, and what the cache has is taken."""

import shutil
import socket
import time
from pathlib import Path

import datasets
import pytest
from click.testing import CliRunner
from conftest import TINY
from hub_server import reread_environment
from huggingface_hub import constants

import export
import infer
import train
from threetoe.backend.model import read_model_config
from threetoe.commands.templates import templates
from threetoe.errors import UserError
from threetoe.machine import hub


@pytest.fixture
def silent(monkeypatch, tmp_path):
    """A Hub that takes connections and never answers, and an empty cache."""
    monkeypatch.setattr(hub, "SIGN_SECONDS", 0.5)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        settings = {"HF_ENDPOINT": f"http://127.0.0.1:{server.getsockname()[1]}"}
        settings |= {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "", "NO_PROXY": "127.0.0.1"}
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        reread_environment()
        yield
    monkeypatch.undo()
    reread_environment()


@pytest.mark.parametrize(
    ("command", "asked"),
    [
        (train.main, "--model ada/none --dataset rows.json --dry-run"),
        (infer.main, "--run RUN --model ada/none Hello"),
        (train.main, "--model tiny --dataset ada/none --dry-run"),
        (export.main, "--run RUN --merged out --base ada/none"),
        (templates, "alpaca --model ada/none"),
    ],
)
def test_a_name_that_nothing_here_has_is_one_line_and_soon(
    silent, three_steps, here, caplog, command, asked
):
    (here / "rows.json").write_text('[{"instruction": "a", "output": "b"}]', encoding="utf-8")
    began = time.monotonic()
    hub.look_up("ada/none")
    assert time.monotonic() - began < 3  # the client alone tries for 50 seconds
    done = CliRunner().invoke(command, asked.replace("RUN", str(three_steps)).split())
    said = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    said += [str(done.exception)] * isinstance(done.exception, UserError)
    assert len(said) == 1 and "ada/none" in said[0], done.output
    assert "etry" not in done.output + caplog.text


def test_what_the_cache_has_is_taken_where_the_hub_gives_no_sign(silent):
    folder = Path(constants.HF_HUB_CACHE, "models--ada--base")
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("1", encoding="utf-8")
    shutil.copytree(TINY, folder / "snapshots" / "1")
    assert read_model_config("ada/base").model_type == "llama"
