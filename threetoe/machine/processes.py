"""The processes that train as one, each on a device, as torchrun and accelerate start them: which
of them this is, and what all of them say. Only the first writes and prints.
"""

import os

from threetoe.errors import UserError

SHARDING = "ACCELERATE_USE_FSDP ACCELERATE_USE_DEEPSPEED UNSLOTH_FSDP2".split()
OFF = ("", "0", "false", "no", "off")


def count() -> int:
    return number_in("WORLD_SIZE", 1)


def rank() -> int:
    return number_in("RANK", 0) if count() > 1 else 0


def is_first() -> bool:
    return rank() == 0


def is_first_of_machine() -> bool:
    return count() == 1 or number_in("LOCAL_RANK", 0) == 0


def number_in(name: str, otherwise: int) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else otherwise


def check_alone() -> None:
    """UserError where this work was started in several processes."""
    if count() > 1:
        raise UserError(
            f"WORLD_SIZE={count()}, as torchrun sets it: only a training works in several "
            "processes; start this with python."
        )


def check_whole() -> None:
    """UserError where weights shall be spread over devices."""
    for name in SHARDING:
        if os.environ.get(name, "").lower() not in OFF:
            raise UserError(
                f"{name} is set: Threetoe trains a whole model on each device, and cannot save "
                "weights that are spread over several (docs/scaling.md)."
            )


def gather(value) -> list:
    """What each process gives here, in their order; all wait for the last."""
    if count() == 1:
        return [value]
    from accelerate.utils import gather_object

    return gather_object([value])
