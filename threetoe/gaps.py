"""How far two models' logits are apart on the same tokens."""

from typing import NamedTuple


class Gap(NamedTuple):
    """Over all positions and the whole vocabulary; `largest` is nan where a logit is not finite."""

    largest: float
    mean: float

    def as_dict(self) -> dict:
        return {"max": shortened(self.largest), "mean": shortened(self.mean)}


def shortened(number: float) -> float:
    """Three significant digits: the rest is noise of the machine."""
    return float(f"{number:.3g}")


def gap_of(ours: list, theirs: list) -> Gap:
    """Of two models' logits: a tensor (positions, vocabulary) for each prompt."""
    largest = total = count = 0.0
    for one, other in zip(ours, theirs, strict=True):
        difference = (one - other).abs()
        highest = float(difference.max())
        largest = highest if highest != highest else max(largest, highest)
        total, count = total + float(difference.double().sum()), count + difference.numel()
        if largest != largest:
            break
    return Gap(largest, total / count)


def agreement(ours: list, theirs: list, tolerance: float) -> dict:
    """At how many positions both would choose the same token: same, ties and other add up to
    positions. A tie is where ours has the two within `tolerance` of each other."""
    same = ties = positions = 0
    for one, other in zip(ours, theirs, strict=True):
        best, chosen = one.argmax(-1), other.argmax(-1)
        margin = one.amax(-1) - one.gather(-1, chosen[:, None])[:, 0]
        same += int((best == chosen).sum())
        ties += int(((best != chosen) & (margin <= tolerance)).sum())
        positions += len(one)
    return {"positions": positions, "same": same, "ties": ties, "other": positions - same - ties}
