"""A training in which something raises has saved every step before it, and continues from there."""

import json

import pytest
from conftest import run_script

from threetoe.train.durable import checkpoint

STEPS = ["--max-steps", 5, "--save-steps", 4, "--lora-dropout", 0.1, "--plugin", "faulty.py"]
FAULTY = """
from pathlib import Path
from transformers import TrainerCallback

def fail(where):
    if Path(where).exists():
        raise ValueError(f"no {where} today")

class Faulty(TrainerCallback):
    def on_log(self, args, state, control, **kwargs):
        if state.global_step == 2:
            fail("log")

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == 2:
            fail("step")

def register_callbacks():
    return {"faulty": Faulty()}

def map_model(model):
    forward, calls = model.forward, []

    def counted(*args, **named):
        calls.append(1)
        if len(calls) == 11:  # the third forward pass of the third step
            fail("pass")
        return forward(*args, **named)

    model.forward = counted
    return model
"""


def outcome(run) -> tuple:
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    steps = [(entry["step"], entry.get("loss")) for entry in map(json.loads, lines)]
    return steps, (run / "adapter_model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("failures")
    (folder / "faulty.py").write_text(FAULTY, encoding="utf-8")
    run_script("train.py", *STEPS, "--output-dir", "whole", cwd=folder)
    return folder


@pytest.mark.parametrize("where", ["log", "pass", pytest.param("step", marks=pytest.mark.wide)])
def test_what_was_whole_is_saved_and_goes_on_to_the_same_bits(folder, where):
    words = [*STEPS, "--output-dir", f"run-{where}"]
    (folder / where).touch()
    ended = run_script("train.py", *words, cwd=folder, code=1)
    (folder / where).unlink()
    run = folder / f"run-{where}"
    assert [path.name for path in checkpoint.found_in(run)] == ["checkpoint-2"]
    said = "what was trained until checkpoint-2 stays: the same command continues"
    assert said in ended.stderr and f"no {where} today" in ended.stderr.splitlines()[-1]
    resumed = run_script("train.py", *words, cwd=folder)
    assert f"continuing run-{where} from step 2" in resumed.stderr
    assert outcome(run) == outcome(folder / "whole")
