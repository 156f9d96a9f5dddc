"""train.py, run for real on the embedded model."""

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from types import SimpleNamespace

import pytest
from conftest import ROOT, TINY, refused, run_script

import train
from threetoe.backend.targets import choose_targets
from threetoe.errors import UserError
from threetoe.options.lora import SEVEN_PROJECTIONS
from threetoe.options.train import TrainConfig, options_of
from threetoe.prompt.template import hash_of
from threetoe.run import record as runs
from threetoe.run.record import EVALUATIONS
from threetoe.train.preview import steps_and_epochs
from threetoe.train.row_sets import check_ends


def losses(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [entry["loss"] for entry in map(json.loads, lines) if "loss" in entry]


def test_answers_that_could_not_learn_to_end_are_refused_before_the_model_loads(here):
    row = {"prompt": "Say it.", "completion": "again and again " * 40}
    (here / "rows.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    options = "--model tiny --dataset rows.jsonl --template human --max-seq-length 64".split()
    (line,) = refused(train, *options)
    assert line.startswith("--max-seq-length 64 cuts every answer, so none would learn to end;")


def test_an_answer_without_its_end_token_is_refused():
    notes = {"whole": 2, "shortest": 9, "endless": ""}
    check_ends(SimpleNamespace(notes=notes), TrainConfig())
    with pytest.raises(UserError, match="a.jsonl:1: the answer has no end token"):
        check_ends(SimpleNamespace(notes=notes | {"endless": "a.jsonl:1"}), TrainConfig())


def test_a_run_folder_holds_everything_and_nothing_else(demo):
    folder, _ = demo
    names = {path.name for path in folder.iterdir()}
    assert sorted(names - {EVALUATIONS}) == [  # which asking the run with a file adds
        "adapter_config.json", "adapter_model.safetensors", "chat_template.jinja", "data.json",
        "data.jsonl", "data.svg", "generation_config.json", "loss.png", "metrics.jsonl",
        "prompts.jsonl", "report.html", "run.json", "samples.jsonl", "tokenizer.json",
        "tokenizer_config.json",
    ]  # fmt: skip


def test_a_folder_that_another_training_writes_to_is_refused(here):
    with runs.start(here / "run", {}):
        (line,) = refused(train, "--model", "tiny", "--output-dir", "run")
    assert line == "--output-dir run: another training is writing there; name another place."
    runs.check_folder(here / "run", False)  # that training was killed: its folder can be taken over
    (here / "run" / "run.partial.json").rename(here / "run" / "run.partial.json.tmp")
    runs.check_folder(here / "run", False)  # one that was killed, or had no room, as it began


def a_base(folder, config, size=None):
    """A folder like the tiny model's with another config, its weights cut to `size` bytes."""
    shutil.copytree(TINY, folder)
    (folder / "config.json").write_text(config, encoding="utf-8")
    if size:
        weights = folder / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:size])


def test_a_base_that_cannot_be_loaded_is_one_line(here):
    ask = ["--dataset", "sentiment", "--preview", 1, "--model"]
    a_base(here / "strange", '{"model_type": "strange9"}')
    (line,) = refused(train, *ask, "strange")
    assert line.startswith(f"{here / 'strange'} cannot be loaded: The checkpoint you are trying")
    a_base(here / "short", (TINY / "config.json").read_text(encoding="utf-8"), 100_000)
    (line,) = refused(train, *ask, "short")
    assert line.startswith("short/model.safetensors is cut short: it has 100000 bytes")
    (here / "short" / "model.safetensors").unlink()
    (line,) = refused(train, *ask, "short")
    assert "has neither model.safetensors nor model.safetensors.index.json" in line


def test_training_writes_nothing_beside_the_run_folder(here):
    run_script("train.py", "--max-steps", 1, "--output-dir", "run", cwd=here)
    assert [path.name for path in here.iterdir()] == ["run"]


def test_training_prints_the_account_of_rows_and_no_library_chatter(demo):
    _, printed = demo
    assert printed.stdout == ""
    assert "900 rows read from sentiment, 900 to train on" in printed.stderr
    assert all(word not in printed.stderr for word in ("Warning", "Unsloth", "it/s", "\r"))
    lines = printed.stderr.splitlines()
    account = next(n for n, line in enumerate(lines) if line.startswith("900 rows read"))
    assert lines[account + 1].startswith("labels: 150 ")
    assert [line for line in lines if line.startswith("tiny: 3M parameters in 4 bits")]
    names = [line.split()[0] for line in lines[-10:]]
    assert names == "asked base run data loss rows took report ask export".split()
    said = dict(line.split(maxsplit=1) for line in lines[-6:])
    assert re.fullmatch(r"[\d.]+ -> 0\.0\d+ \(means of 20 steps\)(  [▁-█]{6})?", said["loss"])
    assert re.fullmatch(r"900 trained; 1\d\d,\d\d\d tokens", said["rows"])
    assert re.fullmatch(r"120 steps in [\d:]+, at most \d.* of memory", said["took"])


def test_a_log_has_a_line_of_progress_for_the_first_step_and_each_tenth_of_the_way(demo):
    _, printed = demo
    line = (
        r"(?m)^step +(\d+)/120  loss ([\d.]+)(?: [▁-█]{2,6})?  [\d:]+ left(?:  [\d,]+ tok/s)?"
        r"  lr [\d.]+e[+-]\d+  [\d.]+ [MG]B$"
    )
    lines = re.findall(line, printed.stderr)
    steps = [int(step) for step, _ in lines]  # a slow machine has more, one each 30 seconds
    assert {1, *range(12, 121, 12)} <= set(steps) and steps == sorted(steps)
    assert float(lines[-1][1]) < float(lines[0][1]) / 4


def test_the_loss_falls(demo):
    folder, _ = demo
    assert losses(folder)[-1] < losses(folder)[0] / 4


def test_the_record_says_what_was_run(demo):
    folder, _ = demo
    _, run = runs.load(folder)
    assert run.options["model"] == "tiny"
    assert run.options["template"] == "alpaca"
    assert run.data["read"] == run.data["trained"] == 900
    assert run.data["learned_tokens"] < run.data["tokens"]
    assert run.template_hash == hash_of(run.template)
    assert {"torch", "transformers", "trl", "peft", "unsloth"} <= set(run.packages)


def test_the_same_options_give_the_same_losses(three_steps, workplace):
    options = three_steps / "run.json"
    run_script("train.py", "--config", options, "--output-dir", "again", cwd=workplace)
    again = workplace / "again"
    assert losses(again) == losses(three_steps)
    first, second = runs.load(three_steps)[1], runs.load(again)[1]
    assert first.data == second.data
    assert {**first.options, "output_dir": 0} == {**second.options, "output_dir": 0}


def test_the_adapter_is_trained_in_fp32(three_steps):
    from safetensors import safe_open

    with safe_open(three_steps / "adapter_model.safetensors", "pt") as file:
        kinds = {file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
    assert kinds == {"F32"}


def test_a_killed_run_looks_unfinished_and_can_be_started_again(tmp_path):
    command = [sys.executable, ROOT / "train.py", "--max-steps", "500", "--output-dir", "killed"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL)
    folder = tmp_path / "killed"
    try:
        deadline = time.monotonic() + 300
        while not (folder / "metrics.jsonl").exists() and time.monotonic() < deadline:
            time.sleep(0.2)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    data = ["data.json", "data.jsonl", "data.svg"]
    there = sorted(path.name for path in folder.iterdir())
    assert there == [*data, "metrics.jsonl", "prompts.jsonl", "run.partial.json"]
    asked = run_script("infer.py", "Hi", "--run", folder, cwd=tmp_path, code=2)
    assert "did not finish" in asked.stderr
    run_script("train.py", "--max-steps", 1, "--output-dir", "killed", cwd=tmp_path)
    assert len(losses(folder)) == 1
    assert not (folder / "run.partial.json").exists()


def test_ctrl_c_takes_back_the_line_of_progress(tmp_path):
    ours, theirs = pty.openpty()
    command = [sys.executable, ROOT / "train.py", "--max-steps", "5000", "--output-dir", "stopped"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=theirs)
    os.close(theirs)
    printed = b""
    while b"  loss " not in printed:
        printed += os.read(ours, 4096)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    with suppress(OSError):  # Linux says so at the end of a terminal
        while more := os.read(ours, 4096):
            printed += more
    os.close(ours)
    *_, last = printed.rpartition(b"\r\x1b[K")
    said = re.sub(rb"\x1b\[\d*m", b"", last)
    assert re.match(rb"Error: Stopped after step \d+ of 5000, and saved: the same ", said), said


def test_preview_shows_rows_with_the_learned_part_marked_and_loads_no_model(tmp_path):
    data = tmp_path / "my.json"
    data.write_text(json.dumps([{"instruction": "Say {this}.", "output": "This."}]))
    shown = run_script("train.py", "--dataset", data, "--preview", 1, cwd=tmp_path)
    assert f"── {data}:1: " in shown.stdout
    assert "### Response:\n⟦This.<|end_of_text|>⟧" in shown.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["my.json"]


def test_rows_too_long_are_cut_and_rows_with_nothing_to_learn_dropped(tmp_path):
    rows = [
        {"prompt": "Hi", "completion": "Hello"},
        {"prompt": "Hi", "completion": "word " * 300},
        {"prompt": "word " * 300, "completion": "Hello"},
    ]
    data = tmp_path / "my.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    shown = run_script(
        "train.py", "--dataset", data, "--template", "chatml", "--max-seq-length", 100,
        "--allow-dropped", 0.5,
        "--dry-run", cwd=tmp_path,
    )  # fmt: skip
    assert f"3 rows read from {data}, 2 to train on" in shown.stderr
    assert f"1 dropped: nothing to learn within --max-seq-length (first: {data}:3)" in shown.stderr
    assert f"1 cut to fit (first: {data}:2)" in shown.stderr


@pytest.mark.parametrize(
    ("rows", "flags", "steps"),
    [
        (17, {"num_train_epochs": 3}, 6),  # 5 batches of 4: 2 steps an epoch
        (2, {"num_train_epochs": 3}, 3),
        (900, {"num_train_epochs": 0.5}, 29),
        (900, {"max_steps": 60, "num_train_epochs": 3}, 60),
    ],
)
def test_the_steps_announced_are_those_that_the_trainer_takes(rows, flags, steps, tmp_path):
    """Against transformers' own arithmetic."""
    from datasets import Dataset
    from torch import nn
    from transformers import Trainer, TrainingArguments

    announced, _ = steps_and_epochs(TrainConfig(**flags), rows)
    arguments = TrainingArguments(
        output_dir=tmp_path, per_device_train_batch_size=4, gradient_accumulation_steps=4,
        use_cpu=True, remove_unused_columns=False, report_to="none", **flags,
    )  # fmt: skip
    data = Dataset.from_dict({"x": list(range(rows))})
    trainer = Trainer(nn.Linear(1, 1), arguments, train_dataset=data)
    loader = trainer.get_train_dataloader()
    taken = trainer.set_initial_training_values(arguments, loader)[-1]
    assert announced == taken == steps


@pytest.mark.parametrize("learn_all", [False, True])
def test_train_on_inputs_learns_every_token(learn_all, tmp_path):
    flags = ["--train-on-inputs"] if learn_all else []
    shown = run_script("train.py", "--dry-run", *flags, cwd=tmp_path)
    assert ("100 % learned" in shown.stderr) == learn_all


def test_an_unsloth_too_old_for_a_cpu_is_one_line_that_says_which_to_install(tmp_path):
    """A package that fails as releases before 2026.10.9 do where there is no GPU."""
    (tmp_path / "unsloth").mkdir()
    (tmp_path / "unsloth" / "__init__.py").write_text(
        "raise NotImplementedError('Unsloth cannot find any torch accelerator? You need a GPU.')"
    )
    record = tmp_path / "unsloth-2026.10.7.dist-info" / "METADATA"
    record.parent.mkdir()
    record.write_text("Metadata-Version: 2.1\nName: unsloth\nVersion: 2026.10.7\n")
    done = run_script(
        "train.py", cwd=tmp_path, code=2, fresh=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert done.stderr.splitlines()[-1] == (
        "Error: Unsloth 2026.10.7 needs a GPU, and none is found: pip install --no-deps "
        "unsloth==2026.10.9 unsloth_zoo==2026.10.9 runs on this CPU."
    )
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_loss_that_is_not_a_number_is_a_failure_and_no_run(tmp_path):
    flags = ["--learning-rate", "1e30", "--warmup-steps", 0, "--max-steps", 4]
    done = run_script("train.py", *flags, "--output-dir", "nan", cwd=tmp_path, code=1)
    assert done.stderr.splitlines()[-1].startswith("Error: The loss became nan")
    assert not (tmp_path / "nan" / "run.json").exists()


def test_target_modules_that_the_model_lacks_are_refused_with_those_it_has(here):
    (line,) = refused(train, "--model", "tiny", "--dry-run", "--target-modules", "q_proj,q_prj")
    assert line == (
        "--target-modules q_prj: tiny has no layer of that name. Did you mean 'q_proj'? It has "
        f"{', '.join(SEVEN_PROJECTIONS)}, embed_tokens, lm_head, or all with all-linear."
    )


def test_all_linear_is_every_linear_layer_but_the_head_of_any_architecture(here):
    from transformers import Phi3Config

    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "pad_token_id": 0}
    Phi3Config(**sizes, vocab_size=64, intermediate_size=64).save_pretrained(here / "phi")
    fused = ("o_proj", "qkv_proj", "gate_up_proj", "down_proj")
    for model, names in (("tiny", SEVEN_PROJECTIONS), (str(here / "phi"), fused)):
        config = TrainConfig(model=model, target_modules=("all-linear",))
        assert set(choose_targets(config).target_modules) == set(names)


def test_two_lengths_of_a_training_are_refused(here):
    (line,) = refused(train, "--max-steps", "5", "--num-train-epochs", "3")
    assert line == (
        "--max-steps 5 and --num-train-epochs 3 both say how long the training is; leave one out."
    )


def test_the_default_length_is_no_choice_that_a_run_json_repeats(here):
    config = TrainConfig()
    assert (config.steps, options_of(config)["max_steps"]) == (60, None)
    assert TrainConfig(num_train_epochs=3).steps is None


def test_on_a_gpu_the_first_step_says_what_takes_its_minutes(monkeypatch, capsys):
    from threetoe.train.watch.progress import StepsDone

    monkeypatch.setattr("sys.platform", "win32")  # where torch is asked without a look for a driver
    for there, said in (
        (True, "the first step compiles kernels, which may take minutes\n"),
        (False, ""),
    ):
        monkeypatch.setattr("torch.cuda.is_available", lambda there=there: there)
        StepsDone().on_train_begin(None, SimpleNamespace(log_history=[]), None)
        assert capsys.readouterr().err == said
