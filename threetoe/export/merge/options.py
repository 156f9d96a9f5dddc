"""How a merge is done, as its functions hand it on."""

from collections.abc import Callable
from dataclasses import dataclass


def stays(name: str) -> None:
    """Training used this base tensor as it is stored."""


@dataclass(frozen=True)
class MergeOptions:
    """`dtype` is float32, float16 or bfloat16; None keeps each base tensor's own. A shard holds at
    most `max_shard_size` bytes. `as_used(name)` is None, or a function that makes of a base weight
    what training used in its place (nf4.rounded_rows). `progress(done, total)` is told bytes after
    each tensor. `rounding` is how what the adapter changes becomes 16 bits: stochastic (see
    rounding.py), or nearest, which gives PEFT's bits; what it does not change is always the
    nearest to the base's.
    """

    dtype: str | None = None
    max_shard_size: int = 5 * 10**9
    as_used: Callable = stays
    progress: Callable = lambda done, total: None
    rounding: str = "stochastic"
