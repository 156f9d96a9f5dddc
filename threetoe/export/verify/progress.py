"""How long the comparison takes, said before it starts and while it lasts."""

import time

from threetoe.machine import terminal
from threetoe.machine.terminal import clear_line, say

QUIET = 10  # seconds below which the estimate is not said
SIDE = 1024
PASSES = 3  # base + adapter, base, export


class Progress:
    """Of so many weights and the sequences that they are asked; passed() counts what is done."""

    def __init__(self, weights: int, sequences: list[list[int]]):
        tokens = len(sequences) * max(map(len, sequences))
        self.whole, self.done = PASSES * weights, 0
        self.shown = terminal.Progress()
        seconds = self.whole / SIDE**2 * seconds_of_a_product(tokens)
        if seconds >= QUIET:
            say(
                f"comparing with base + adapter: {len(sequences)} prompts, {weights / 1e6:,.0f}M "
                f"weights; {about(seconds)}"
            )

    def passed(self, weights: int) -> None:
        self.done = min(self.done + weights, self.whole)  # a tied head passes twice
        share = f"compared with base + adapter: {self.done / self.whole:.0%}"
        self.shown.show(self.done, self.whole, share)
        if self.done == self.whole:
            clear_line()


def seconds_of_a_product(tokens: int) -> float:
    """What a matrix of SIDE rows and columns takes here, in fp32."""
    import torch

    from threetoe.export.verify.weights import device

    ones, side = torch.ones(tokens, SIDE, device=device()), torch.ones(SIDE, SIDE, device=device())
    times = []
    for _ in range(3):
        began = time.perf_counter()
        float((ones @ side)[0, 0])
        times.append(time.perf_counter() - began)
    return min(times)


def about(seconds: float) -> str:
    return f"about {seconds:.0f} s" if seconds < 100 else f"about {seconds / 60:.0f} minutes"
