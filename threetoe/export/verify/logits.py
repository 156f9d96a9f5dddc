"""The part of the proof that weights decide: logits of base + adapter, and of what was written.

What is compared with what, and the limits with their reasons, are in verify.py.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from threetoe.backend.checkpoint import FLOATS
from threetoe.errors import first_line
from threetoe.export.merge.base_weights import as_used, base_weights
from threetoe.export.verify import gguf_file as proof_gguf
from threetoe.export.verify import weights as plain
from threetoe.export.verify.reference import Reference, logits_of, sequences_of
from threetoe.machine.files import read_json
from threetoe.machine.libraries import chatter_hidden
from threetoe.options.export import ExportConfig
from threetoe.run.probes import Prompt
from threetoe.run.record import Run

GGUF = ("gguf", "ollama")
FP32_NOISE = 1e-3  # logits
SHARE = 0.25  # of rounding's own gap
STAND_IN_SHARE = 2  # where rounding was measured with another type
HOLLOW = (
    "its logits were not compared: transformers reads GGUF files whole, and the free memory does "
    "not hold this one"
)


class Question(NamedTuple):
    kind: str
    run: Run
    config: ExportConfig  # its run is the folder that was exported
    prompts: list[Prompt]
    memory: int | None  # bytes that models may take; None: what is free


class Logits(NamedTuple):
    """For each sequence a tensor (positions, vocabulary)."""

    wanted: list
    rounded: list
    written: list


class Gap(NamedTuple):
    """Over all positions and the whole vocabulary; `largest` is nan where a logit is not finite."""

    largest: float
    mean: float

    def as_dict(self) -> dict:
        return {"max": shortened(self.largest), "mean": shortened(self.mean)}


def compare(found: dict, place: Path, question: Question) -> None:
    """Add the figures of the weights of a folder, or of one GGUF file, to what was found."""
    import torch
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    run, config = question.run, question.config
    base = base_weights(run, config)
    with torch.inference_mode(), chatter_hidden():
        reference = Reference(base, config.run, as_used(run, config), question.memory)
        found["loaded"] = "one layer at a time" if reference.hollow else "whole"
        if question.kind in GGUF and reference.hollow:
            return found["warnings"].append(HOLLOW)
        sequences = sequences_of(question.prompts, reference, run.stop_ids, found)
        wanted = reference.logits(sequences)
        found["effect"] = gap_of(wanted, reference.logits(sequences, adapter=False)).as_dict()
        try:
            logits, share = ask(found, place, question, reference, sequences, wanted)
        except Exception as error:  # whatever a library makes of a broken file
            return found["problems"].append(f"it cannot be loaded: {first_line(error)}")
    judge(found, logits, share)


def ask(
    found: dict,
    place: Path,
    question: Question,
    reference: Reference,
    sequences,
    wanted,
) -> tuple[Logits, float]:
    """The logits of `rounded` and of the export, and what share of rounding is the limit."""
    if question.kind in GGUF:
        rounding, stands_in = proof_gguf.rounding_of(place)
        rounded = reference.logits(sequences, rounding=rounding)
        share = STAND_IN_SHARE if stands_in else SHARE
        return Logits(wanted, rounded, proof_gguf.logits_of(place, sequences)), share
    rounded = reference.logits(sequences, rounding=rounding_of(place, question, found))
    reference.close()
    return Logits(wanted, rounded, logits_of(place, sequences, question.memory)), SHARE


def rounding_of(folder: Path, question: Question, found: dict) -> Callable:
    """rounding(name) of hollow.merge_and_round, by the types in the exported files."""
    import torch

    weights, asked = plain.Weights(folder), question.config.dtype
    dtypes = {name: FLOATS.get(tensor.dtype) for name, tensor in weights.stored.items()}
    if question.kind == "merged-4bit":
        found["dtype"] = "nf4"
        dtype = getattr(torch, read_json(folder / "config.json")["dtype"])
        nf4 = lambda weight: plain.through_nf4(weight.to(dtype)).float()  # noqa: E731
        return lambda name: nf4 if name in weights.packed else as_float(dtypes.get(name))
    floats = set(filter(None, dtypes.values()))
    found["dtype"] = ", ".join(sorted(floats))
    if asked and floats != {asked}:
        found["problems"].append(f"it holds {found['dtype']}, and --dtype asked for {asked}")
    return lambda name: as_float(dtypes.get(name))


def as_float(dtype: str | None) -> Callable | None:
    """A function that rounds a weight to a type and gives it back in fp32; None where the type
    changes nothing."""
    import torch

    if dtype not in ("bfloat16", "float16"):
        return None
    return lambda weight: weight.to(getattr(torch, dtype)).float()


def judge(found: dict, logits: Logits, share: float) -> None:
    """Gaps, limits, and a problem for each figure beyond its limit."""
    wanted, rounded, written = logits
    shapes = wanted[0].shape[-1], written[0].shape[-1]
    if shapes[0] != shapes[1]:
        text = f"its vocabulary has {shapes[1]} rows, and base + adapter {shapes[0]}"
        return found["problems"].append(text)
    cost, beyond, gap = (
        gap_of(*pair) for pair in ((wanted, rounded), (rounded, written), (wanted, written))
    )
    limit = max(FP32_NOISE, share * cost.largest)
    tokens = agreement(wanted, written, tolerance=2 * (cost.largest + limit))
    found |= {"gap": gap.as_dict(), "rounding": cost.as_dict(), "beyond_rounding": beyond.as_dict()}
    found |= {"tokens": tokens, "limits": {"beyond_rounding": shortened(limit), "other": 0}}
    found["problems"] += problems_of(beyond, limit, tokens)
    if not found["problems"] and found["effect"]["max"] <= limit:
        found["warnings"].append(
            f"the adapter changes the logits by {found['effect']['max']} at most, which is within "
            f"the limit of {shortened(limit)}: whether it is merged cannot be told from them"
        )


def problems_of(beyond: Gap, limit: float, tokens: dict) -> list[str]:
    if not beyond.largest < float("inf"):
        return ["its logits are not finite numbers"]
    problems = []
    if beyond.largest > limit:
        problems.append(
            f"its logits differ from base + adapter by {beyond.largest:.3g} beyond rounding; "
            f"the limit is {limit:.3g}"
        )
    if tokens["other"]:
        problems.append(
            f"{tokens['other']} of {tokens['positions']} greedy tokens differ from those of base "
            "+ adapter; the limit is 0"
        )
    return problems


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
