"""A training that is killed goes on by the same command, and ends with the same bits."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from itertools import product

import pytest
from conftest import ROOT
from forked import run_python

from threetoe.errors import Failure, UserError
from threetoe.options.train import TrainConfig
from threetoe.train.batches import InOrder, by_length, shuffled
from threetoe.train.durable import checkpoint, resume
from threetoe.train.durable.checkpoint import check_room, writing

CHILD = {"PYTHONPATH": str(ROOT), "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
QUICK = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, "save_steps": 2}
ROWS = [{"instruction": f"Say {n}.", "output": f"{n} is {'a' * (n % 7)}"} for n in range(18)]
PACKING = """
def map_training_args(arguments):  # a CPU packs no rows; their order is that of packs
    return {**arguments, "train_sampling_strategy": "random"}
"""
WAYS = {
    "dropout, validation inside an epoch": {
        "max_steps": 10, "val_size": "20", "eval_steps": 3, "lora_dropout": 0.1,
    },
    "the best of a steep training, samples": {
        "max_steps": 10, "val_size": "20", "eval_steps": 3, "learning_rate": 0.1, "warmup_steps": 0,
        "load_best_model_at_end": True, "sample_steps": 4,
    },
    "three epochs": {"dataset": "rows.json", "num_train_epochs": 3.0},
    "the order of packs, dropout, three epochs": {
        "dataset": "rows.json", "num_train_epochs": 3.0, "lora_dropout": 0.1,
        "plugin": ("packing.py",),
    },
    "new tokens": {"max_steps": 8, "template": "chatml", "new_tokens": "add"},
    "cosine": {"max_steps": 8, "optim": "adamw_torch", "lr_scheduler_type": "cosine"},
    "constant": {"max_steps": 8, "optim": "paged_adamw_8bit", "lr_scheduler_type": "constant"},
    "constant_with_warmup, 16 bits": {
        "max_steps": 8, "optim": "paged_adamw_32bit", "load_in_4bit": False,
        "lr_scheduler_type": "constant_with_warmup",
    },
    "DoRA, matrices trained whole, the last answer": {
        "max_steps": 8, "use_dora": True, "modules_to_save": ("embed_tokens", "lm_head"),
        "train_on": "last", "load_in_4bit": False,
    },
    "plateau, noise, rsLoRA": {
        "max_steps": 8, "val_size": "20", "eval_steps": 1, "neftune_noise_alpha": 5.0,
        "lr_scheduler_type": "reduce_lr_on_plateau", "use_rslora": True,
        "lr_scheduler_kwargs": (("patience", "0"), ("threshold", "0.5")),
    },
    "greedy": {
        "max_steps": 8, "val_size": "20", "eval_steps": 1, "lr_scheduler_type": "greedy",
        "lr_scheduler_kwargs": (("patience", "0"), ("min_lr", "1e-5"), ("max_lr", "0.1")),
    },
    **{
        name: {"max_steps": 8, "optim": name, "warmup_ratio": 0.3, "lr_scheduler_type": "cosine"}
        for name in "adafactor sgd adagrad rmsprop ademamix lion_32bit".split()
    },
    **{
        name: {"max_steps": 8, "lr_scheduler_type": name, "lr_scheduler_kwargs": given}
        for name, given in {
            "cosine_with_restarts": (("num_cycles", "2"),), "polynomial": (), "inverse_sqrt": (),
            "cosine_with_min_lr": (("min_lr", "1e-5"),),
            "cosine_warmup_with_min_lr": (("min_lr_rate", "0.1"),),
            "warmup_stable_decay": (("num_decay_steps", "2"),),
        }.items()
    },
}  # fmt: skip


def killed(folder, ways: dict, kills: int) -> list[dict]:
    """What came of trainings that were killed so often each (killed_trainings.py)."""
    (folder / "rows.json").write_text(json.dumps(ROWS), encoding="utf-8")
    (folder / "packing.py").write_text(PACKING, encoding="utf-8")
    common = {"dataset": "sentiment", "model": "tiny", "template": "alpaca", **QUICK}
    cases = [
        {"options": common | changes, "kills": kills, "seed": n}
        for n, changes in enumerate(ways.values())
    ]
    given = json.dumps({"folder": str(folder), "cases": cases})
    program, env = [ROOT / "tests" / "killed_trainings.py"], {**os.environ, **CHILD}
    done = run_python(program, folder, env, given)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def assert_same(found: list[dict], ways: dict, kills: int) -> None:
    assert len(found) == len(ways)
    for name, facts in zip(ways, found, strict=True):
        assert facts["code"] == 0, (name, facts["log"])
        stages = facts["stages"]
        assert sum(stages.values()) == kills and "writing a checkpoint" in stages, (name, stages)
        wanted = facts["wanted"]
        differ = [k for one in facts["results"] for k in wanted if one[k] != wanted[k]]
        assert differ == [], name


def test_a_training_killed_at_random_moments_ends_with_the_same_bits(tmp_path):
    ways = dict([next(iter(WAYS.items()))])
    assert_same(killed(tmp_path, ways, 5), ways, 5)


@pytest.mark.wide
def test_every_optimizer_schedule_and_order_survives_twenty_kills(tmp_path):
    assert_same(killed(tmp_path, WAYS, 20), WAYS, 20)


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """A run folder that SIGTERM left, what was said, and the command's words."""
    folder = tmp_path_factory.mktemp("interrupted")
    words = "--max-steps 40 --save-steps 30 --gradient-accumulation-steps 1 --output-dir run"
    command = [sys.executable, ROOT / "train.py", *words.split()]
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
    metrics = folder / "run" / "metrics.jsonl"
    while not (metrics.exists() and '"loss"' in metrics.read_text()):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    said = process.communicate()[1]
    return folder, process.returncode, said, words.split()


def test_a_signal_finishes_the_step_saves_and_says_how_to_go_on(interrupted):
    folder, code, said, _ = interrupted
    (saved,) = checkpoint.found_in(folder / "run")
    step = checkpoint.read(saved)[0].step
    assert code == 143
    assert f"Stopped after step {step} of 40, and saved: the same command continues." in said


def test_what_changed_is_named_and_refused(interrupted):
    folder = interrupted[0] / "run"
    found, _ = checkpoint.newest(folder)
    then = found.facts["identity"]
    resume.check(found, then, False)
    for changes, said in [
        ({"learning_rate": 0.1}, "learning_rate was .*, is 0.1"),
        ({"the rows": "other"}, "the rows changed"),
        ({"the template's text": "other"}, "the template's text changed"),
        ({"target_modules": ["q_proj"]}, "target_modules changed"),
    ]:
        with pytest.raises(UserError, match=said):
            resume.check(found, then | changes, True)
    for other, said in [
        ({"versions": then["versions"] | {"torch": "1.0"}}, "torch was .*, is 1.0"),
        ({"plugins": {"a": ["1", {}]}}, "plugins changed"),
    ]:
        with pytest.raises(UserError, match=f"{said} .--resume-anyway"):
            resume.check(found, then | other, False)
        resume.check(found, then | other, True)
    with pytest.raises(UserError, match="trained on other weights of the base"):
        resume.check_base(found, "other")


def test_an_altered_or_cut_checkpoint_is_passed_over_and_the_one_before_is_taken(tmp_path):
    for step in (1, 2, 3, 4):
        checkpoint.write(tmp_path, step, {}, lambda to: (to / "x").write_bytes(b"abc"))
    (tmp_path / "checkpoint-4" / "x").write_bytes(b"abd")
    (tmp_path / "checkpoint-3" / "x").unlink()
    found, passed_over = checkpoint.newest(tmp_path)
    assert found.step == 2
    assert passed_over == [
        f"{tmp_path}/checkpoint-4 is passed over: x was altered",
        f"{tmp_path}/checkpoint-3 is passed over: x is missing",
    ]
    for text in ("{", "[]", "[" * 10**5, '{"step": 2, "files": {}, "facts": {}}'):
        (tmp_path / "checkpoint-2" / checkpoint.MANIFEST).write_text(text)
        assert checkpoint.newest(tmp_path)[0].step == 1
    whole = json.loads((tmp_path / "checkpoint-1" / checkpoint.MANIFEST).read_text())
    whole["facts"]["seconds"] = 1
    (tmp_path / "checkpoint-1" / checkpoint.MANIFEST).write_text(json.dumps(whole))
    assert checkpoint.read(tmp_path / "checkpoint-1") == (None, "manifest.json was altered")


def test_facts_of_other_types_under_a_right_hash_are_one_line(tmp_path):
    whole = {
        "identity": {"per_device_train_batch_size": 1, "versions": {"a": "1"}, "plugins": {}},
        "base": "", "seconds": 1.5, "sums": {}, "total": 3, "parts": 1, "callbacks": {},
    }  # fmt: skip
    cases = [whole | {name: other} for name, other in product(whole, ([], "x", None))]
    cases.remove(whole | {"base": "x"})
    for step, facts in enumerate([*cases, whole], 1):
        folder = checkpoint.write(tmp_path, step, facts, lambda to: None)
        found, problem = checkpoint.read(folder)
        assert problem == ""
        if facts == whole:
            resume.check_facts(found)
        else:
            with pytest.raises(UserError, match="manifest.json is damaged: Expected .*, got"):
                resume.check_facts(found)


def test_a_checkpoint_under_another_name_is_no_newer_one_and_links_are_not_followed(tmp_path):
    other, run = tmp_path / "other", tmp_path / "run"
    run.mkdir()
    for step in (1, 2):
        checkpoint.write(run, step, {}, lambda to: (to / "x").write_bytes(b"abc"))
    (run / "checkpoint-1").rename(run / "checkpoint-9")
    shutil.copytree(run / "checkpoint-9", other)
    (run / "checkpoint-8").symlink_to(other)
    found, passed_over = checkpoint.newest(run)
    assert found.step == 2
    assert passed_over == [f"{run}/checkpoint-{n} is passed over: it is of step 1" for n in (9, 8)]
    checkpoint.prune(run, 0)
    assert (other / "x").read_bytes() == b"abc"


def test_a_checkpoint_that_cannot_be_filled_leaves_those_before_it(tmp_path):
    def full(to):
        (to / "x").write_bytes(b"abc")
        raise OSError("No space left on device")

    checkpoint.write(tmp_path, 1, {}, lambda to: (to / "x").write_bytes(b"abc"))
    with pytest.raises(OSError):
        checkpoint.write(tmp_path, 2, {}, full)
    checkpoint.prune_staged(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-1"]


def test_a_full_disk_in_the_save_is_one_line_and_the_checkpoints_stay(tmp_path):
    from safetensors import SafetensorError

    checkpoint.write(tmp_path, 1, {}, lambda to: (to / "x").write_bytes(b"abc"))
    said = "The run cannot be written .* the same command again"
    for error in (OSError(28, "No space left"), SafetensorError("No room"), RuntimeError("No")):
        with pytest.raises(Failure, match=said), writing("The run", tmp_path):
            raise error
    assert checkpoint.newest(tmp_path)[0].step == 1


def test_a_disk_too_small_is_told_with_the_numbers(tmp_path):
    import torch

    model = torch.nn.Linear(10**6, 10**6, device="meta")  # 4 TB of numbers, none of them stored
    with pytest.raises(UserError, match="--output-dir .* needs .* GB, .* are free on"):
        check_room(model, tmp_path / "run", 2)


def test_only_the_latest_checkpoints_are_kept(tmp_path):
    for step in (5, 9, 10):
        checkpoint.write(tmp_path, step, {}, lambda to: (to / "x").write_bytes(b"abc"))
    checkpoint.prune(tmp_path, 2)
    assert [path.name for path in checkpoint.found_in(tmp_path)] == [
        "checkpoint-10",
        "checkpoint-9",
    ]


def test_a_named_checkpoint_that_is_not_one_is_refused(tmp_path):
    with pytest.raises(UserError, match="manifest.json is missing; name another, or auto"):
        resume.find(TrainConfig(resume=str(tmp_path)), tmp_path)
    assert resume.find(TrainConfig(resume="never"), tmp_path)[0] is None


def test_a_loader_that_skips_batches_takes_the_epoch_that_it_is_told():
    """accelerate before 1.15 begins such a loader at epoch 0; transformers names the epoch then."""
    from accelerate import Accelerator, skip_first_batches
    from torch.utils.data import DataLoader

    order = InOrder(shuffled, range(40), 4, 7)
    loader = DataLoader(range(40), batch_size=4, sampler=order)
    rest = skip_first_batches(Accelerator(cpu=True).prepare(loader), 3)
    rest.iteration = 0
    rest.set_epoch(2)
    found = [row for batch in rest for row in batch.tolist()]
    order.set_epoch(2)
    assert found == list(order)[12:]


def test_an_order_follows_from_seed_and_epoch_alone():
    import numpy

    lengths = numpy.arange(1, 41)
    for order in (by_length, shuffled):
        first = InOrder(order, lengths, 4, 7)
        epochs = []
        for epoch in range(3):
            first.set_epoch(epoch)
            epochs.append(list(first))
        later = InOrder(order, lengths, 4, 7)  # as in a process that continues in epoch 2
        later.set_epoch(2)
        assert list(later) == epochs[2] != epochs[0]
        assert sorted(epochs[1]) == list(range(40))


def test_a_change_in_any_wing_of_the_package_is_another_version(tmp_path, monkeypatch):
    monkeypatch.setattr(resume, "OURS", tmp_path)
    codes = set()
    for change in ("data/a.py", "prompt/b.py", "export/card/c.py"):
        (tmp_path / change).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / change).write_text("1")
        codes.add(resume.hash_of_code())
    assert len(codes) == 3
