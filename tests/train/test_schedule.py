"""Options of the adapter, the learning rate and the optimizer reach what is trained."""

import json
from dataclasses import replace

import pytest
from conftest import TINY, refused, run_script
from safetensors.torch import load_file

import train
from threetoe.backend.memory import moments_of
from threetoe.backend.optimizers import REFUSED, check_arguments, check_optimizer, check_schedule
from threetoe.errors import UserError
from threetoe.options.schedule import OPTIMIZERS, SCHEDULES
from threetoe.options.train import TrainConfig

LOOK = """
def after_train(trainer, folder):
    held = trainer.optimizer.optimizer
    (folder / "optimizer.txt").write_text(f"{type(held).__module__}.{type(held).__name__}")
"""
SHORT = "--model tiny --no-load-in-4bit --plugin look.py --gradient-accumulation-steps 1".split()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A function: the folder of a short training with these words, and what metrics.jsonl has."""
    here = tmp_path_factory.mktemp("schedules")
    (here / "look.py").write_text(LOOK)

    def run(name, words):
        flags = [*SHORT, *words.split(), "--output-dir", name]
        run_script("train.py", *flags, cwd=here)
        lines = (here / name / "metrics.jsonl").read_text().splitlines()
        return here / name, [one for one in map(json.loads, lines) if "loss" in one]

    return run


@pytest.fixture(scope="module")
def plain(trained):
    return trained("plain", "--max-steps 2 --warmup-steps 0 --seed 1")


def test_every_name_of_transformers_is_known():
    from transformers.trainer_utils import SchedulerType
    from transformers.training_args import OptimizerNames

    assert set(OPTIMIZERS) == {one.value for one in OptimizerNames}
    assert set(SCHEDULES) == {one.value for one in SchedulerType}


def test_the_rate_rises_over_a_share_of_the_steps_and_follows_its_schedule(trained):
    words = "--max-steps 6 --learning-rate 1e-3 --warmup-ratio 0.4 --lr-scheduler-type "
    _, logged = trained("min", words + "cosine_with_min_lr --lr-scheduler-kwargs min_lr=4e-4")
    rates = [entry["learning_rate"] for entry in logged]
    assert rates[:4] == pytest.approx([0, 1e-3 / 3, 2e-3 / 3, 1e-3])  # 0.4 x 6 is 3, rounded up
    assert rates[4:] == pytest.approx([8.5e-4, 5.5e-4])  # down to 4e-4


def test_a_rate_that_follows_the_validation_loss_falls_when_that_does_not(trained):
    words = "--max-steps 4 --learning-rate 1e-9 --val-size 20 --eval-steps 1 --lr-scheduler-type "
    kwargs = " --lr-scheduler-kwargs patience=0 --lr-scheduler-kwargs threshold=0.5"
    kwargs += " --lr-scheduler-kwargs min_lr=0 --lr-scheduler-kwargs eps=0"
    _, logged = trained("plateau", words + "reduce_lr_on_plateau" + kwargs)
    rates = [entry["learning_rate"] for entry in logged]
    assert rates[0] == 1e-9 and rates[-1] < 1e-9 / 5


def test_gradients_are_cut_and_the_optimizer_is_the_one_that_is_named(trained):
    words = "--max-steps 1 --learning-rate 1 --warmup-steps 0 --weight-decay 0 --optim sgd"
    folder, _ = trained("sgd", f"{words} --max-grad-norm 0.01")
    assert (folder / "optimizer.txt").read_text() == "torch.optim.sgd.SGD"
    moved = [t for n, t in load_file(folder / "adapter_model.safetensors").items() if "lora_B" in n]
    assert sum(float(t.square().sum()) for t in moved) ** 0.5 == pytest.approx(0.01, rel=1e-2)
    named = {"adafactor": "Adafactor", "ademamix": "bitsandbytes.optim.ademamix.AdEMAMix"}
    for name, kind in named.items():
        folder, _ = trained(name, f"--max-steps 1 --optim {name}")
        assert (folder / "optimizer.txt").read_text().endswith(kind)


def test_noise_and_rslora_change_what_is_computed(trained, plain):
    """The first loss shows noise, as the adapter begins at nothing; rsLoRA shows in the second."""
    words = "--max-steps 2 --warmup-steps 0 --seed 1"
    _, noisy = trained("noisy", f"{words} --neftune-noise-alpha 10")
    assert noisy[0]["loss"] != plain[1][0]["loss"]
    folder, scaled = trained("scaled", f"{words} --use-rslora")
    assert scaled[0]["loss"] == plain[1][0]["loss"] and scaled[1]["loss"] != plain[1][1]["loss"]
    assert json.loads((folder / "adapter_config.json").read_text())["use_rslora"] is True
    run = ["--run", folder, "--merged", "merged"]
    done = run_script("export.py", *run, cwd=folder.parent)
    assert "% of the adapter's effect kept" in done.stderr


def test_what_cannot_be_had_here_is_refused_before_anything_is_loaded(here):
    config = TrainConfig()
    refusals = {name for name in OPTIMIZERS if not is_fine(replace(config, optim=name))}
    for name in ("lion_8bit", "paged_ademamix_8bit", "rmsprop_bnb", "lomo", "galore_adamw"):
        assert name in refusals
    assert {"adamw_8bit", "sgd", "adafactor", "lion_32bit", "ademamix"}.isdisjoint(refusals)
    assert all(any(name.startswith(start) for name in OPTIMIZERS) for start in REFUSED)
    (line,) = refused(train, "--model", "tiny", "--optim", "stable_adamw")
    assert line.endswith("needs a package that is not installed: pip install torch-optimi")
    (line,) = refused(train, "--model", "tiny", "--optim", "lion_8bit")
    assert line.startswith("--optim lion_8bit needs a CUDA GPU: Unsloth's CPU backend would train")


def is_fine(config):
    try:
        check_optimizer(config)
    except UserError:
        return False
    return True


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"warmup_steps": 3, "warmup_ratio": 0.1}, "--warmup-steps 3 and --warmup-ratio 0.1 both"),
        ({"warmup_steps": 3, "lr_scheduler_type": "constant"}, "constant has no warm-up"),
        ({"lr_scheduler_type": "greedy"}, "follows the validation loss: keep rows"),
        ({"warmup_ratio": 0.1, "max_hours": 1.0}, "--warmup-ratio 0.1 needs the number of steps"),
        ({"lr_scheduler_type": "inverse_sqrt", "max_hours": 1.0}, "inverse_sqrt needs the number"),
    ],
)
def test_options_of_the_rate_that_contradict_each_other_are_refused(changes, said):
    with pytest.raises(UserError, match=said):
        check_schedule(TrainConfig(**changes))


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("cosine_with_min_lr", (), "min_lr or min_lr_rate should be set"),
        ("warmup_stable_decay", (), "missing .* 'num_decay_steps'"),
        ("greedy", (), "name both, --lr-scheduler-kwargs min_lr=1e-5"),
        ("constant_with_warmup", (("a", "1"),), "takes no --lr-scheduler-kwargs"),
        ("linear", (("a", "1"),), "unexpected keyword argument 'a'"),
        ("cosine", (("num_cycles", "many"),), "num_cycles=many: could not convert"),
        ("inverse_sqrt", (("timescale", "0"),), "division by zero"),
    ],
)
def test_what_a_schedule_lacks_or_does_not_know_is_refused(name, given, said):
    config = TrainConfig(
        lr_scheduler_type=name, lr_scheduler_kwargs=given, learning_rate=2e-4, model=str(TINY)
    )
    with pytest.raises(UserError, match=f"--lr-scheduler-type {name}.*{said}"):
        check_arguments(config)


def test_the_estimate_of_memory_knows_what_an_optimizer_keeps():
    kept = {name: moments_of(name, on_gpu=True) for name in OPTIMIZERS}
    assert kept["adamw_torch"] == 8 and kept["ademamix"] == 12 and kept["sgd"] == 0
    assert kept["adamw_8bit"] == 2 + 8 / 256 and kept["lion_8bit"] == 1 + 4 / 256
    assert kept["paged_adamw_32bit"] == 0 and moments_of("adamw_8bit", on_gpu=False) == 8
