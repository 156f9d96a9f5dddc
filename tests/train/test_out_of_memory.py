"""A training that runs out of memory goes on with smaller micro-batches, as the same training."""

import json

import pytest
from conftest import run_script

STEPS = ["--max-steps", 6, "--per-device-train-batch-size", 4, "--gradient-accumulation-steps", 2]
# In bf16 a batch of 4 rows and 4 of one round differently, whoever cuts them: by 5e-3 of this loss.
FP32 = """
def map_training_args(arguments):
    return {**arguments, "bf16": False}

def map_model(model):
    return model.float()
"""
FULL = """
import torch

def map_model(model):
    forward, calls = model.forward, []

    def limited(*args, **named):
        calls.append(1)
        rows = named["input_ids"].shape[0]
        if len(calls) > {after} and rows > {most}:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return forward(*args, **named)

    model.forward = limited
    return model
"""


def losses(folder) -> list[float]:
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [entry["loss"] for entry in map(json.loads, lines) if "loss" in entry]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("memory")


def test_the_losses_are_those_of_an_undisturbed_training(folder):
    (folder / "fp32.py").write_text(FP32, encoding="utf-8")
    (folder / "full.py").write_text(FULL.format(after=5, most=1), encoding="utf-8")
    words = [*STEPS, "--no-load-in-4bit", "--plugin", "fp32.py"]
    run_script("train.py", *words, "--output-dir", "whole", cwd=folder)
    printed = run_script(
        "train.py", *words, "--output-dir", "cut", "--plugin", "full.py", cwd=folder
    )
    for rows in (2, 1):
        line = f"out of memory at step 3: {rows} rows now pass at a time; the 4 rows of a batch "
        assert line + "still make one step" in printed.stderr
    assert losses(folder / "cut") == pytest.approx(losses(folder / "whole"), abs=1e-5)
    record = json.loads((folder / "cut" / "run.json").read_text(encoding="utf-8"))
    assert record["metrics"]["parts_of_a_batch"] == 4


def test_a_row_that_is_too_much_names_what_takes_less(folder):
    (folder / "none.py").write_text(FULL.format(after=0, most=0), encoding="utf-8")
    ended = run_script(
        "train.py", *STEPS, "--output-dir", "none", "--plugin", "none.py", cwd=folder, code=1
    )
    last = ended.stderr.splitlines()[-1]
    assert last.startswith("Error: Out of memory in training at step 1, with one row at a time.")
    assert "--max-seq-length" in last
