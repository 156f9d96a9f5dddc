"""The proof of an export: what was written is loaded by plain transformers and compared with base
and adapter.

Four models see the same tokens, all in fp32, so that only their weights differ:

reference  base + adapter by PEFT, not merged
base       the reference with its adapter switched off; the gap to it is the adapter's effect
rounded    the reference merged by PEFT, each weight then rounded to the type that the export has
           it in; the gap to it is what this type costs, whoever merges: rounding
export     what was written

Passed is an export whose gap to `rounded` is at most the limit: the largest logit difference may be
1e-3, ten times what the order of fp32 sums makes of them, or a quarter of rounding's own, where
that is more. The same merge gives the same bits, so the gap is 0 on one machine; sums in another
order turn the last bit of some weights, which stays below the quarter; an export without the
adapter, or with it twice, is off by the adapter's effect. Where the effect is below the limit the
comparison cannot tell, and says so.

limit       float32 1e-3; bfloat16, float16 and 4 bits: a quarter of the rounding measured on the
            same prompts, for weights of 8, 11 and about 3 significant bits; an adapter is copied
            as it is: 1e-3
agreement   the greedy token is the same wherever the reference prefers it by more than twice
            rounding and limit together, which is as far as two logits may move against each other
ids         prompts and stop ids are the same or not; there is no limit
"""

import time
from collections.abc import Callable
from pathlib import Path

from threetoe import backend, plain, proof_tokens
from threetoe import base as bases
from threetoe.contract import load_tokenizer
from threetoe.errors import first_line
from threetoe.gaps import Gap, agreement, gap_of, shortened
from threetoe.hub_base import cached
from threetoe.nf4 import as_used_in_4bit
from threetoe.preflight import base_name
from threetoe.prompts import prompts_of
from threetoe.quiet import chatter_hidden, quieten
from threetoe.reference import Reference, logits_of, sequences_of
from threetoe.run import Run, package_versions
from threetoe.shards import FLOATS, read_json

FILE = "verify.json"
KINDS = ("adapter", "merged", "merged-4bit")  # what can be compared here
FP32_NOISE = 1e-3  # logits
SHARE = 0.25  # of rounding's own gap


def verify(folder: Path, kind: str, run: Run, config, memory: int | None = None) -> dict:
    """What verify.json says of an exported folder; `config.run` is the folder it was made from.
    Models that do not fit into `memory` (bytes; None: what is free) are run a layer at a time.

    `passed` is true or false; `problems` has a line for each figure beyond its limit, `warnings`
    what the comparison could not see. Never raises for what is wrong with the export.
    """
    began = time.monotonic()
    quieten()
    found = {"passed": False, "kind": kind, "problems": [], "warnings": []}
    tokenizer = load_tokenizer(config.run, run)
    prompts = prompts_of(config.run, run, tokenizer)
    found["prompts"] = len(prompts)
    found["problems"] += proof_tokens.problems(folder, run, prompts, tokenizer)
    if not found["problems"]:
        compare(found, folder, kind, run, config, prompts, memory)
    found["passed"] = not found["problems"]
    found["seconds"] = round(time.monotonic() - began, 1)
    found["versions"] = package_versions()
    return found


def not_verified(kind: str) -> dict:
    """What verify.json says after --no-verify."""
    return {"passed": None, "kind": kind, "problems": [], "warnings": ["not checked: --no-verify"]}


def compare(found, folder: Path, kind: str, run: Run, config, prompts: list, memory) -> None:
    """Add the figures of the weights to what was found."""
    import torch
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    base = base_of(kind, run, config)
    if base is None:
        text = f"its base {run.options['model']} is not here: logits were not compared"
        return found["warnings"].append(text)
    as_nf4 = as_used_in_4bit if bases.dequantizes(run, config) else lambda name: None
    with torch.inference_mode(), chatter_hidden():
        reference = Reference(base, config.run, as_nf4, memory)
        found["loaded"] = "one layer at a time" if reference.hollow else "whole"
        sequences = sequences_of(prompts, reference, run.stop_ids, found)
        wanted = reference.logits(sequences)
        found["effect"] = gap_of(wanted, reference.logits(sequences, adapter=False)).as_dict()
        try:
            rounding = rounding_of(folder, kind, config, found)
            if kind == "adapter":
                rounded, written = wanted, reference.logits_with(folder, sequences)
            else:
                rounded = reference.logits(sequences, rounding=rounding)
                del reference
                written = logits_of(folder, sequences, memory)
        except Exception as error:  # whatever a library makes of a broken file
            found["problems"].append(f"it cannot be loaded: {first_line(error)}")
            return
    judge(found, wanted, rounded, written)


def base_of(kind: str, run: Run, config) -> Path | None:
    """The folder of the 16-bit base; for an adapter nothing is downloaded, and None may come."""
    if kind != "adapter":
        return bases.base_weights(run, config)
    name = base_name(run, config)
    folder = Path(backend.location(name))
    base = None if folder.is_dir() else cached(name)
    return folder if folder.is_dir() else base and base.folder


def rounding_of(folder: Path, kind: str, config, found: dict) -> Callable:
    """rounding(name) of plain.merge_and_round, by the types in the exported files."""
    import torch

    if kind == "adapter":
        return lambda name: None
    weights = plain.Weights(folder)
    dtypes = {name: FLOATS.get(tensor.dtype) for name, tensor in weights.stored.items()}
    if kind == "merged-4bit":
        found["dtype"] = "nf4"
        dtype = getattr(torch, read_json(folder / "config.json")["dtype"])
        nf4 = lambda weight: plain.through_nf4(weight.to(dtype)).float()  # noqa: E731
        return lambda name: nf4 if name in weights.packed else as_float(dtypes.get(name))
    floats = set(filter(None, dtypes.values()))
    found["dtype"] = ", ".join(sorted(floats))
    if config.dtype and floats != {config.dtype}:
        text = f"it holds {found['dtype']}, and --dtype asked for {config.dtype}"
        found["problems"].append(text)
    return lambda name: as_float(dtypes.get(name))


def as_float(dtype: str | None) -> Callable | None:
    """A function that rounds a weight to a type and gives it back in fp32; None where the type
    changes nothing."""
    import torch

    if dtype not in ("bfloat16", "float16"):
        return None
    return lambda weight: weight.to(getattr(torch, dtype)).float()


def judge(found: dict, wanted: list, rounded: list, written: list) -> None:
    """Gaps, limits, and a problem for each figure beyond its limit."""
    shapes = wanted[0].shape[-1], written[0].shape[-1]
    if shapes[0] != shapes[1]:
        text = f"its vocabulary has {shapes[1]} rows, and base + adapter {shapes[0]}"
        return found["problems"].append(text)
    cost, beyond, gap = (
        gap_of(*pair) for pair in ((wanted, rounded), (rounded, written), (wanted, written))
    )
    limit = max(FP32_NOISE, SHARE * cost.largest)
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


def said(found: dict) -> str:
    """', checked: largest gap 0.0041, 128 of 128 tokens agree'; '' for what has no figures."""
    if not found:
        return ""
    if found["passed"] is None:
        return ", not checked"
    wrong = "" if found["passed"] else f"WRONG, and kept by --force: {'; '.join(found['problems'])}"
    return f", {wrong}" if wrong else f", checked: {summary(found)}"


def summary(found: dict) -> str:
    if "gap" not in found:
        return "; ".join(["ids and files agree", *found["warnings"]])
    tokens, ties = found["tokens"], found["tokens"]["ties"]
    tied = f" ({ties} tied)" if ties else ""
    agree = f"{tokens['same'] + ties} of {tokens['positions']} tokens agree{tied}"
    return "; ".join([f"largest gap {found['gap']['max']}, {agree}", *found["warnings"]])
