"""What is seen of a training: progress, samples, trackers, the best step, a loss that is none."""

import json
import os
import re
import sys
from array import array

import pytest
from conftest import refused, run_script

import train
from threetoe.run import record
from threetoe.train.durable import checkpoint

QUICK = "--max-steps 8 --save-steps 3 --val-size 12 --eval-steps 2 --lora-dropout 0.1".split()
STEEP = [*QUICK, *"--learning-rate 0.1 --lr-scheduler-type constant --warmup-steps 0".split()]


def lines_of(run, name="metrics.jsonl"):
    return [json.loads(line) for line in (run / name).read_text(encoding="utf-8").splitlines()]


def weights(run):
    return (run / "adapter_model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a run that nobody watched."""
    place = tmp_path_factory.mktemp("watch")
    (place / "prompts.txt").write_text("How are you?\n\nName a colour.\n", encoding="utf-8")
    run_script("train.py", *STEEP, "--output-dir", "plain", cwd=place)
    return place


def test_a_line_of_progress_has_the_course_of_the_loss_and_as_much_as_fits(monkeypatch, capsys):
    from threetoe.train.watch.progress import course, fitting

    monkeypatch.setattr("sys.stderr", sys.__stdout__)
    falling = array("d", [8, 7, float("nan"), 6, 4, 2, 1])
    assert course(falling) == "█▇▆▄▂▁"
    assert (course(falling[:1]), course(array("d", [2, 2, 2]))) == ("", "▁▁▁")
    parts = ["3/9", "loss 1.2", "0:09 left", "731 MB"]
    assert [fitting(parts, room) for room in (99, 27, 5)] == [
        "3/9  loss 1.2  0:09 left  731 MB", "3/9  loss 1.2  0:09 left", "3/9  loss 1.2",
    ]  # fmt: skip


def test_samples_are_kept_and_change_no_bit_of_the_training(place):
    flags = ["--sample-steps", 3, "--sample-prompts", "prompts.txt", "--output-dir", "asked"]
    said = run_script("train.py", *STEEP, *flags, cwd=place).stderr
    assert weights(place / "asked") == weights(place / "plain")
    losses = [[e.get("loss") for e in lines_of(place / name)] for name in ("asked", "plain")]
    assert losses[0] == losses[1]
    found = lines_of(place / "asked", "samples.jsonl")
    assert [line["step"] for line in found] == [0, 0, 3, 3, 6, 6, 8, 8]
    assert [line["where"] for line in found[:2]] == ["prompts.txt:1", "prompts.txt:3"]
    assert {"answer", "ended", "asked", "step", "where"} == set(found[0])
    ended = sum(line["ended"] for line in found[:2])
    assert f"the base: {ended} of 2 answers ended by themselves\n" in said
    bare = ["--run", "plain", "--no-adapter", "--max-new-tokens", 128, "How are you?"]
    assert run_script("infer.py", *bare, cwd=place).stdout.strip() == found[0]["answer"].strip()


def test_what_would_be_watched_in_vain_is_refused(here, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)  # as where it is not installed
    (here / "none.txt").write_text("\n", encoding="utf-8")
    for flags, said in {
        "--report-to wandb": "--report-to wandb: it is not installed; pip install wandb",
        "--report-to mlflow": "mlflow is none of tensorboard, wandb, trackio.",
        "--sample-prompts none.txt": "--sample-prompts none.txt: --sample-steps says when.",
        "--sample-prompts none.txt --sample-steps 2": "--sample-prompts none.txt has no prompts",
        "--metrics": "--metrics: there are no rows to measure",
        "--metric-for-best-model exact": "--metric-for-best-model exact: give --metrics.",
        "--run-name mine": "--run-name mine: no tracker is named with --report-to.",
        "--load-best-model-at-end": "--load-best-model-at-end: there are no rows to measure",
        "--early-stopping-patience 2": "--early-stopping-patience 2: there are no rows",
    }.items():
        (line,) = refused(train, *flags.split())
        assert said in line


def test_the_best_step_is_what_is_saved_and_a_training_that_gets_no_better_ends(place):
    flags = "--load-best-model-at-end --early-stopping-patience 2 --output-dir best".split()
    flags += ["--sample-steps", 1000]  # so none is asked at the step that is saved
    longer = ["60" if word == "8" else word for word in STEEP]
    said = run_script("train.py", *longer, *flags, cwd=place).stderr
    _, run = record.load(place / "best")
    measured = {e["step"]: e["eval_loss"] for e in lines_of(place / "best") if "eval_loss" in e}
    step = run.metrics["saved_step"]
    assert step == min(list(measured)[1:], key=measured.get)
    assert run.metrics["steps"] == max(measured) == step + 4 < 60
    assert run.metrics["eval_loss"] == round(measured[step], 4)
    assert f"no better loss since step {step}: the training ends\n" in said
    assert f"saved in best: the adapter of step {step}, the best that was measured\n" in said
    *_, sample = lines_of(place / "best", "samples.jsonl")
    asked = sample["asked"][-1]
    question = [asked["content"], "--input", asked["input"], "--max-new-tokens", 40]
    answer = run_script("infer.py", "--run", "best", *question, cwd=place).stdout.strip()
    assert (sample["step"], sample["answer"].strip()) == (step, answer)
    until = [str(step) if word == "8" else word for word in STEEP]
    run_script("train.py", *until, "--output-dir", "until", cwd=place)
    assert weights(place / "best") == weights(place / "until")


def test_validation_answers_are_judged_and_choose_the_best_step(place):
    best = "--metrics --metric-for-best-model macro_f1 --load-best-model-at-end".split()
    said = run_script("train.py", *STEEP, *best, "--output-dir", "judged", cwd=place).stderr
    measured = [e for e in lines_of(place / "judged") if "eval_loss" in e]
    told = lines_of(place / "judged", "scores.jsonl")
    assert [row["step"] for row in told] == [e["step"] for e in measured] == [0, 2, 4, 6, 8]
    assert [row["metrics"]["macro_f1"] for row in told] == [e["eval_macro_f1"] for e in measured]
    step = record.load(place / "judged")[1].metrics["saved_step"]
    assert step == max(measured[1:], key=lambda e: e["eval_macro_f1"])["step"]
    assert sum(map(sum, told[-1]["confusion"])) == told[-1]["answers"] == 12
    assert re.search(r"\nlabel +rows +precision", said) and "\nmacro-F1 " in said
    assert (place / "judged" / "confusion.png").exists()
    losses = [[e.get("loss") for e in lines_of(place / name)] for name in ("judged", "plain")]
    assert losses[0] == losses[1]  # it was not disturbed
    words = [*STEEP, "--metrics", "--load-best-model-at-end", "--metric-for-best-model", "bleu"]
    refused = run_script("train.py", *words, "--output-dir", "none", cwd=place, code=2)
    assert "No metric named 'bleu'" in refused.stderr.splitlines()[-1]


KILLED = """
import os
from pathlib import Path
from transformers import TrainerCallback

class Killed(TrainerCallback):
    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == 5 and Path("kill").exists():
            os._exit(9)

def register_callbacks():
    return {"killed": Killed()}
"""


def test_a_training_that_was_killed_has_the_same_best_step_and_no_sample_twice(place):
    (place / "killed.py").write_text(KILLED, encoding="utf-8")
    blows_up = "--learning-rate 1 --warmup-steps 8 --load-best-model-at-end".split()
    flags = [*QUICK, *blows_up, "--plugin", "killed.py", "--sample-steps", 2]
    (place / "kill").touch()
    words = [*flags, "--sample-prompts", "prompts.txt", "--output-dir"]
    run_script("train.py", *words, "cut", cwd=place, code=9)
    assert lines_of(place / "cut", "samples.jsonl")[-1]["step"] == 4  # and the checkpoint is of 3
    (place / "kill").unlink()
    assert "from step 3" in run_script("train.py", *words, "cut", cwd=place).stderr
    run_script("train.py", *words, "whole", cwd=place)
    cut, whole = place / "cut", place / "whole"
    assert weights(cut) == weights(whole)
    assert lines_of(cut, "samples.jsonl") == lines_of(whole, "samples.jsonl")
    saved = [record.load(run)[1].metrics["saved_step"] for run in (cut, whole)]
    assert saved == [2, 2]  # of which no checkpoint was


SPOILT = """
def map_model(model, tokenizer):
    rare = tokenizer("\u03a9").input_ids[-1]

    def spoil(module, args, output):
        return output * float("nan") if (args[0] == rare).any() else output

    model.get_input_embeddings().register_forward_hook(spoil)
    return model
"""


def test_a_loss_that_is_no_number_names_its_rows_and_takes_no_step(tmp_path):
    rows = [{"instruction": f"Say {n}.", "output": f"{n} is it"} for n in range(40)]
    rows[17]["instruction"] = "\u03a9"
    (tmp_path / "rows.json").write_text(json.dumps(rows, indent=0), encoding="utf-8")
    (tmp_path / "spoilt.py").write_text(SPOILT, encoding="utf-8")
    flags = "--dataset rows.json --plugin spoilt.py --output-dir run --save-steps 1 --seed 1"
    small = "--per-device-train-batch-size 2 --gradient-accumulation-steps 2"
    words = [*flags.split(), *small.split(), "--save-total-limit", 1]
    error = run_script("train.py", *words, cwd=tmp_path, code=1).stderr.splitlines()[-1]
    (kept,) = checkpoint.found_in(tmp_path / "run")
    step = checkpoint.read(kept)[0].step
    assert error.startswith(f"Error: The loss became nan at step {step + 1}, which was not taken;")
    assert (
        "rows.json:70" in error and error.count("rows.json:") == 2
    )  # of the pass, not of the step
    assert f"run/checkpoint-{step} stays as it was." in error and "--learning-rate (0.0032" in error
    assert len(lines_of(tmp_path / "run")) == step


def test_tensorboard_has_every_loss(place):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    flags = "--report-to tensorboard --logging-steps 4 --output-dir told".split()
    run_script("train.py", *STEEP, *flags, cwd=place)
    assert weights(place / "told") == weights(place / "plain")
    (folder,) = (place / "told" / "runs").iterdir()
    read = events.EventAccumulator(str(folder))
    read.Reload()
    logged = [(e["step"], e["loss"]) for e in lines_of(place / "told") if "loss" in e]
    told = [(e.step, e.value) for e in read.Scalars("train/loss")]
    assert told == [(step, pytest.approx(loss)) for step, loss in logged]
    assert {step for step, _ in logged} == {2, 3, 4, 6, 8}  # by fours, measured, saved
    assert len(read.Scalars("eval/loss")) == 5


def test_a_tracker_that_fails_is_said_once_and_stops_nothing(place):
    pytest.importorskip("tensorboard")
    (place / "taken").touch()
    flags = "--report-to tensorboard --output-dir failed".split()
    where = {**os.environ, "TENSORBOARD_LOGGING_DIR": str(place / "taken" / "in")}
    said = run_script("train.py", *STEEP, *flags, cwd=place, env=where).stderr
    assert (
        said.count("--report-to tensorboard: ") == said.count("the training goes on without") == 1
    )
    assert weights(place / "failed") == weights(place / "plain")


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_other_trackers_work_without_a_network(place, name):
    pytest.importorskip(name)
    where = {**os.environ, "WANDB_MODE": "offline", "TRACKIO_DIR": str(place / "trackio")}
    flags = ["--report-to", name, "--run-name", "mine", "--output-dir", name]
    said = run_script("train.py", *STEEP, *flags, cwd=place, env=where).stderr
    assert "the training goes on without" not in said
    assert weights(place / name) == weights(place / "plain")
    places = {"wandb": place / "wandb" / "wandb", "trackio": place / "trackio"}
    assert any(path.stat().st_size for path in places[name].rglob("*") if path.is_file())
