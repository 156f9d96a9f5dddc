"""Which optimizers and schedules this machine and a training that survives can have, checked before
anything is loaded."""

import json
from importlib.util import find_spec

from threetoe.errors import UserError, first_line
from threetoe.machine.libraries import has_gpu
from threetoe.options.types import MOST

USUAL = ("linear", "cosine", "constant", "constant_with_warmup")
WITHOUT_WARMUP = ("constant", "reduce_lr_on_plateau", "greedy")
MEASURED = WITHOUT_WARMUP[1:]  # they follow the validation loss
COUNTED = ("inverse_sqrt", "warmup_stable_decay")  # by steps, not by their share of all
PACKAGES = {  # an optimizer's module: how pip calls it
    "stable_adamw": ("optimi", "torch-optimi"),
    "adamw_torch_4bit": ("torchao", "torchao"),
    "adamw_torch_8bit": ("torchao", "torchao"),
}
REFUSED = {  # by the start of their names
    "adamw_torch_xla": "is for TPUs, where Unsloth does not train",
    "adamw_torch_npu": "is for Ascend NPUs, where Unsloth does not train",
    "adamw_anyprecision": "needs torchdistx, which is on no package index",
    "grokadamw": "keeps its state to itself: a training that was killed would end otherwise",
    "galore": "projects whole matrices, and an adapter's are small already",
    "apollo": "projects whole matrices, and an adapter's are small already",
    "lomo": "changes weights within a step, so one that fails could not be done again",
    "adalomo": "changes weights within a step, so one that fails could not be done again",
    "schedule_free": "has other weights in training than after it, which checkpoints and "
    "validation do not know",
}


def check_optimizer(config) -> None:
    """UserError for an optimizer that cannot be had here; it would be another, or end in a
    traceback. Unsloth's CPU backend puts AdamW in the place of what has no kernels for a CPU."""
    name = config.optim
    asked, instead = f"--optim {name}", "; adamw_torch, adafactor, ademamix or sgd train here"
    for start, why in REFUSED.items():
        if name.startswith(start):
            raise UserError(f"{asked} {why}{instead}.")
    if name.startswith(("adamw_8bit", "adamw_bnb", "paged_adamw")):
        return
    if not has_gpu() and any(part in name for part in ("8bit", "paged", "bnb")):
        raise UserError(
            f"{asked} needs a CUDA GPU: Unsloth's CPU backend would train with AdamW{instead}."
        )
    module, package = PACKAGES.get(name, ("torch", ""))
    if find_spec(module) is None:
        raise UserError(f"{asked} needs a package that is not installed: pip install {package}")


def check_schedule(config) -> None:
    """UserError for options of the learning rate that contradict each other."""
    name, ratio, steps = config.lr_scheduler_type, config.warmup_ratio, config.warmup_steps
    asked = f"--lr-scheduler-type {name}"
    if ratio is not None and steps is not None:
        raise UserError(
            f"--warmup-steps {steps} and --warmup-ratio {ratio:g} both say how long the learning "
            "rate rises; leave one out."
        )
    if name in WITHOUT_WARMUP and (ratio or steps):
        raise UserError(f"{asked} has no warm-up: leave out the flag, or choose another schedule.")
    if name in MEASURED and not (config.val_size or config.val_split or config.val_dataset):
        raise UserError(f"{asked} follows the validation loss: keep rows for it with --val-size.")
    if config.is_timed and (ratio or name in COUNTED):
        asked = asked if name in COUNTED else f"--warmup-ratio {ratio:g}"
        raise UserError(
            f"{asked} needs the number of steps, which a time leaves open: choose --warmup-steps, "
            "a schedule such as cosine, or --max-steps instead."
        )


def check_arguments(config) -> None:
    """UserError where a schedule cannot be made of --lr-scheduler-kwargs, or lacks some; it is made
    to find out, for one number."""
    name, given = config.lr_scheduler_type, schedule_arguments(config)
    if not given and name in USUAL:
        return  # without a look into transformers
    import torch
    from transformers.optimization import get_scheduler

    flags = "".join(f" --lr-scheduler-kwargs {key}={value}" for key, value in given.items())
    asked = f"--lr-scheduler-type {name}{flags}"
    if name.startswith("constant"):
        raise UserError(f"{asked}: this schedule takes no --lr-scheduler-kwargs.")
    if name == "greedy" and not {"min_lr", "max_lr"} <= given.keys():
        raise UserError(
            f"{asked} moves between two rates: name both, --lr-scheduler-kwargs min_lr=1e-5 "
            f"--lr-scheduler-kwargs max_lr={4 * config.learning_rate:g}."
        )
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=config.learning_rate)
    try:
        made = get_scheduler(name, optimizer, 0, config.steps or MOST, given)
        optimizer.step()
        made.step(*[1.0] * (name in MEASURED))
    except (TypeError, ValueError, ArithmeticError) as error:
        mend = "mend it with --lr-scheduler-kwargs NAME=VALUE"
        raise UserError(f"{asked}: {first_line(error).rstrip('.')}; {mend}.") from error


def schedule_arguments(config) -> dict:
    """--lr-scheduler-kwargs, numbers and true and false as such."""
    return {name: read_value(text) for name, text in config.lr_scheduler_kwargs}


def read_value(text: str):
    try:
        return json.loads(text)
    except ValueError:
        return text
