"""How a sum in fp32 becomes a number of a coarser type: up or down by chance, in proportion to how
near it is to the two (stochastic rounding).

What an adapter adds is mostly smaller than half a step of the weight that it is added to. Rounding
to the nearest gives the old weight back, and what was learned is lost, everywhere in the same
direction; rounding by chance keeps the sum of many small changes. The chance is fixed: it follows
from a tensor's name and a weight's place alone, so that the bits are the same on every machine and
in whatever pieces a tensor is written.
"""

import hashlib
import math

DROPPED = {"BF16": 16, "F16": 13}  # low bits of fp32 that a type has no room for
GOLDEN = 0x9E3779B97F4A7C15  # splitmix64's step


class Chance:
    """The noise of one tensor; a name of its own for each time that a tensor is rounded."""

    def __init__(self, name: str, shape: tuple[int, ...]):
        height = shape[0] if shape else 1
        self.rows = keys(f"{name} rows", height)
        self.columns = keys(f"{name} columns", math.prod(shape) // max(1, height))

    def noise(self, rows, bits: int = 16):
        """Numbers from 0 to 2 ** bits - 1, as (rows, columns), of those rows that `rows` (a slice
        or a list) says.

        They are the upper bits of a product of two odd numbers of 32 bits, one of the row and one
        of the column: multiply-shift hashing (Dietzfelbinger et al. 1997, doi
        10.1006/jagm.1997.0873).
        """
        product = self.rows[rows, None] * self.columns  # wraps
        return product.bitwise_right_shift_(32 - bits).bitwise_and_((1 << bits) - 1)

    def round(self, weight, rows, dtype: str) -> None:
        """Rounds fp32 numbers, which must be finite, in place to one of DROPPED. Below fp16's
        smallest normal number, 6e-5, its steps are coarser and what is left is rounded to the
        nearest."""
        import torch

        bits = DROPPED[dtype]
        numbers = weight.view(torch.int32).add_(self.noise(rows, bits))
        numbers.bitwise_and_(-1 << bits)


def keys(name: str, count: int):
    """`count` odd numbers of 32 bits that follow from a name, by splitmix64 (Steele et al. 2014,
    doi 10.1145/2660193.2660195), as torch's int32."""
    import numpy as np
    import torch

    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    z = np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(GOLDEN)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    upper = ((z ^ (z >> np.uint64(31))) >> np.uint64(32)).astype(np.uint32)
    return torch.from_numpy((upper | np.uint32(1)).view(np.int32))
