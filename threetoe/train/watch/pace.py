"""How long the steps of a training take, what stands between them apart."""

from collections import deque

LATEST = 20  # steps, which tell how long the next take


class Pace:
    """`begin` and `end` are told of each step of this process, with the time in seconds."""

    def __init__(self, now: float):
        self.at, self.done = now, 0
        self.took = deque(maxlen=LATEST)
        self.between = 0.0  # validation, checkpoints and the like, since the first step

    def begin(self, now: float) -> None:
        self.between += now - self.at if self.done else 0
        self.at = now

    def end(self, now: float) -> None:
        self.done += 1
        if self.done == 2:
            self.took.clear()  # the first has the longest rows, and may have been compiled for
        self.took.append(now - self.at)
        self.at = now

    @property
    def step(self) -> float:
        return sum(self.took) / len(self.took)

    @property
    def whole(self) -> float:
        """A step with its share of what stands between steps."""
        return self.step + self.between / self.done
