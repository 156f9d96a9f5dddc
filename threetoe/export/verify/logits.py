"""The part of the proof that weights decide: base, base + adapter, and what was written.

The limits lie between what was measured of a run (SmolLM2-135M-Instruct, 40 steps on tweets, see
docs/export.md) rounded by chance and to the nearest.
"""

from pathlib import Path
from typing import NamedTuple

from threetoe.errors import Failure, first_line
from threetoe.export.merge.base_weights import as_used, base_weights
from threetoe.export.verify import gguf_file
from threetoe.export.verify.merged_weights import Sums
from threetoe.export.verify.progress import Progress
from threetoe.export.verify.reference import logits_of, logits_of_run, run, sequences_of
from threetoe.export.verify.weights import FP32, Weights, has_room
from threetoe.machine.libraries import chatter_hidden
from threetoe.options.export import ExportConfig
from threetoe.run.probes import Prompt
from threetoe.run.record import Run

GGUF = ("gguf", "ollama")
FLOOR = 0.5  # of what the adapter adds to the weights: 1 by chance, 0.62 to the nearest, 0 in NF4
DEVIATIONS = 4  # of rounding's own chance, by which the floor is lowered
KEPT = 0.9  # of the adapter's effect on logits, 1 - gap / effect of the means: 0.98 and 0.75
SURE = 1.0  # logits between the first token and the second: e times as likely
OTHER = 0.03  # of the tokens where the run is sure; of all tokens 0.3 % and 7.4 % are others
HOLLOW = (
    "its logits were not compared: transformers reads GGUF files whole, and the free memory does "
    "not hold this one"
)
FULL = (
    "Out of memory while the export was compared with the run: leave no other program on the GPU, "
    "compare on the CPU (CUDA_VISIBLE_DEVICES= before the command), or leave it out (--no-verify)."
)


class Question(NamedTuple):
    kind: str
    run: Run
    config: ExportConfig  # its run is the folder that was exported
    prompts: list[Prompt]


def compare(found: dict, place: Path, question: Question) -> None:
    """Add the figures of the weights of a folder, or of one GGUF file, to what was found."""
    import torch
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    base = Weights(base_weights(question.run, question.config))
    if question.kind in GGUF and not has_room(base.count() * FP32):
        return found["warnings"].append(HOLLOW)
    with torch.inference_mode(), chatter_hidden():
        try:
            logits, sums = ask(found, place, question, base)
        except torch.OutOfMemoryError as error:
            raise Failure(FULL) from error
        except Exception as error:  # whatever a library makes of a broken file
            return found["problems"].append(f"it cannot be loaded: {first_line(error)}")
    judge_weights(found, sums)
    judge_logits(found, *logits)
    warn(found, question)


def ask(found: dict, place: Path, question: Question, base: Weights) -> tuple[tuple, Sums]:
    """The logits of base + adapter, of the base and of the export, and what its weights are."""
    run_folder, sequences = question.config.run, sequences_of(question.prompts)
    progress = Progress(base.count(), sequences)
    if question.kind in GGUF:
        model = gguf_file.load(place)
        tensors, dtype = model.state_dict(), gguf_file.dtypes(place)
        sums = Sums(tensors.get, dtype)
    else:
        weights = Weights(place)
        name_dtype(found, weights, question)
        sums = Sums(weights.read, weights.dtype)
    used = as_used(question.run, question.config)
    of_run = logits_of_run(base.folder, run_folder, used, sequences, sums.look, progress)
    if question.kind in GGUF:
        return (*of_run, run(model, sequences)), sums
    return (*of_run, logits_of(place, sequences, progress)), sums


def name_dtype(found: dict, weights: Weights, question: Question) -> None:
    asked, held = question.config.dtype, {weights.dtype(name) for name in weights.names()}
    found["dtype"] = "nf4" if weights.packed else ", ".join(sorted(filter(None, held)))
    if question.kind == "merged" and asked and found["dtype"] != asked:
        found["problems"].append(f"it holds {found['dtype']}, and --dtype asked for {asked}")


def judge_weights(found: dict, sums: Sums) -> None:
    """The share of what the adapter adds, and problems with the weights."""
    found["weights"] = {"wrong": sums.wrong, "share": None}
    if sums.wrong:
        more = f", and so {len(sums.wrong) - 1} more" if sums.wrong[1:] else ""
        found["problems"].append(
            f"{sums.wrong[0]} holds other numbers than the two beside base + adapter{more}"
        )
    if sums.share is None:
        return found["warnings"].append("the adapter changes nothing")
    found["weights"]["share"] = shortened(sums.share)
    if not sums.share >= FLOOR - DEVIATIONS * sums.deviation:
        found["problems"].append(
            f"its weights hold {max(0, sums.share):.0%} of what the adapter adds to the base's; "
            f"the limit is {FLOOR:.0%}"
        )


def judge_logits(found: dict, wanted: list, base: list, written: list) -> None:
    """Gaps, the share of the effect that is kept, and tokens."""
    ours, theirs = wanted.shape[-1], written.shape[-1]
    if ours != theirs:
        text = f"its vocabulary has {theirs} rows, and base + adapter {ours}"
        return found["problems"].append(text)
    effect, gap = gap_of(wanted, base), gap_of(wanted, written)
    if not gap["max"] < float("inf"):
        return found["problems"].append("its logits are not finite numbers")
    for name, figures in (("effect", effect), ("gap", gap)):
        found[name] = {which: shortened(number) for which, number in figures.items()}
    moved = effect["mean"]
    found["kept"] = shortened(max(0.0, 1 - gap["mean"] / moved)) if moved else None
    found["tokens"] = tokens_of(wanted, written)


def warn(found: dict, question: Question) -> None:
    """One line where too little of the adapter is left, with what helps."""
    tokens, kept = found.get("tokens"), found.get("kept")
    if found["problems"] or kept is None:
        return
    lost = []
    if kept < KEPT:
        lost.append(f"only {kept:.0%} of the adapter's effect is kept")
    if tokens["sure_different"] > OTHER * tokens["sure"]:
        counts = f"{tokens['sure_different']} of {tokens['sure']}"
        lost.append(f"{counts} tokens of which the run is sure are others")
    if lost:
        found["warnings"].append(f"{' and '.join(lost)}: {helps(found, question)}")


def helps(found: dict, question: Question) -> str:
    """What would keep more of the adapter."""
    if question.config.rounding == "nearest":
        return "--rounding stochastic keeps more"
    if question.kind == "merged" and found["dtype"] == "bfloat16":
        return "--dtype float16 keeps more, and a longer training is lost less easily"
    if question.kind == "merged":
        return "a longer training is lost less easily"
    return "more bits keep more (--merged, --gguf bf16, --gguf q8_0)"


def shortened(number: float) -> float:
    """Three significant digits: the rest is noise of the machine."""
    return float(f"{number:.3g}")


def gap_of(ours, theirs) -> dict[str, float]:
    """The largest difference and the mean of two models' logits, tensors (positions, vocabulary);
    nan where one is not finite."""
    import torch

    apart = (ours - theirs).abs_()
    return {"max": float(apart.max()), "mean": float(apart.mean(dtype=torch.double))}


def tokens_of(ours, theirs) -> dict[str, int]:
    """At how many positions both would choose the same token and at how many another one; and of
    those where ours is sure, how many there are and how many differ."""
    different = ours.argmax(-1) != theirs.argmax(-1)
    first, second = ours.topk(2).values.T
    sure = first - second >= SURE
    others = int(different.sum())
    return {
        "positions": len(ours),
        "same": len(ours) - others,
        "different": others,
        "sure": int(sure.sum()),
        "sure_different": int((sure & different).sum()),
    }
