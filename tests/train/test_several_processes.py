"""Two processes train as one: the same losses, one that writes and prints, and both continue."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT, refused, run_script
from forked import Forked

import export
import infer
import train
from threetoe.train.durable import checkpoint

STEPS = "--max-steps 6 --save-steps 2 --val-size 21 --eval-steps 3".split()
ONE = [*STEPS, "--per-device-train-batch-size", "2", "--gradient-accumulation-steps", "4"]
TWO = [*STEPS, "--per-device-train-batch-size", "2", "--gradient-accumulation-steps", "2"]


def start(folder, words) -> list[Forked]:
    """Two processes as torchrun would start them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    processes = []
    for rank in "01":
        streams = [folder / f"{name}{rank}" for name in ("in", "out", "err")]
        streams[0].touch()
        env = {"WORLD_SIZE": "2", "RANK": rank, "LOCAL_RANK": rank, **place}
        call = [str(ROOT / "train.py"), *words, "--output-dir", "run"]
        processes.append(Forked(call, folder, {**os.environ, **env}, streams))
    return processes


def losses(folder) -> list[float]:
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    found = [(line.get("loss"), line.get("eval_loss")) for line in map(json.loads, lines)]
    return [loss for both in found for loss in both if loss is not None]


def test_two_processes_killed_and_continued_have_the_losses_of_one(tmp_path):
    run = tmp_path / "run"
    first, second = start(tmp_path, TWO)
    while not checkpoint.found_in(run):
        assert first.poll() is None, (tmp_path / "err0").read_text()
        time.sleep(0.02)
    second.send_signal(signal.SIGKILL)
    assert first.wait(60) and second.wait(60)  # who is alone cannot go on
    assert [process.wait(100) for process in start(tmp_path, TWO)] == [0, 0]
    said = (tmp_path / "err0").read_text()
    assert re.search("continuing run from step [24]", said) and "6 steps of 8 rows" in said
    assert [(tmp_path / name).read_text() for name in ("out1", "err1")] == ["", ""]
    run_script("train.py", *ONE, "--output-dir", "one", cwd=tmp_path)
    assert losses(run) == pytest.approx(losses(tmp_path / "one"), abs=1e-3)
    assert len(losses(run)) == 6 + 3
    assert json.loads((run / "run.json").read_text())["metrics"]["processes"] == 2


def test_only_a_training_may_have_several_processes_and_each_a_whole_model(here, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for script, words in ((infer, ["--run", "none"]), (export, []), (train, ["--rehearse"])):
        lines = refused(script, *words)
        assert lines[0].startswith("WORLD_SIZE=2, as torchrun sets it: only a training works in")
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    (line,) = refused(train)
    assert line.startswith("ACCELERATE_USE_FSDP is set: Threetoe trains a whole model on each")


@pytest.mark.wide
def test_torchrun_and_accelerate_start_them_and_a_signal_lets_them_save(tmp_path):
    tools = Path(sys.executable).parent
    words = [ROOT / "train.py", *TWO]
    torchrun = [tools / "torchrun", "--nproc_per_node", "2"]
    accelerate = [tools / "accelerate", "launch", "--multi_gpu", "--num_processes", "2"]
    accelerate += ["--num_machines", "1", "--mixed_precision", "no"]
    for name, launch in (("torchrun", torchrun), ("accelerate", accelerate)):
        subprocess.run([*launch, *words, "--output-dir", name], cwd=tmp_path, check=True)
    assert losses(tmp_path / "torchrun") == losses(tmp_path / "accelerate")
    run = tmp_path / "run"
    process = subprocess.Popen([*torchrun, *words, "--output-dir", "run"], cwd=tmp_path)
    while not checkpoint.found_in(run):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(100)
    subprocess.run([*torchrun, *words, "--output-dir", "run"], cwd=tmp_path, check=True)
    bits = [at / "adapter_model.safetensors" for at in (run, tmp_path / "torchrun")]
    assert bits[0].read_bytes() == bits[1].read_bytes()
