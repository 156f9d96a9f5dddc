"""How long the comparison takes, said before it starts and while it lasts."""

import time

from threetoe.machine.terminal import clear_line, say, show_progress

QUIET = 10  # seconds below which nothing is said
SIDE = 1024
PASSES = 3  # base + adapter, base, export


class Progress:
    """Of so many weights and the sequences that they are asked; passed() counts what is done."""

    def __init__(self, weights: int, sequences: list[list[int]]):
        tokens = len(sequences) * max(map(len, sequences))
        self.whole, self.done, self.began = PASSES * weights, 0, time.monotonic()
        seconds = self.whole / SIDE**2 * seconds_of_a_product(tokens)
        self.quiet = seconds < QUIET
        if not self.quiet:
            say(
                f"comparing with base + adapter: {len(sequences)} prompts, {weights / 1e6:,.0f}M "
                f"weights; {about(seconds)}"
            )

    def passed(self, weights: int) -> None:
        self.done += weights
        left = (self.whole - self.done) * (time.monotonic() - self.began) / max(self.done, 1)
        if not self.quiet:
            show_progress(f"compared {self.done / self.whole:.0%}, {about(left)} left")
        if self.done >= self.whole:
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
