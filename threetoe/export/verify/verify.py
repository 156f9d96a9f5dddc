"""The proof of an export: what was written is loaded by plain transformers and compared with base
and adapter.

Tokens come first: the exported tokenizer's chat template gives the ids that the run was trained
with, and the stop ids are the same. There is no limit to that: they are, or they are not.

Then weights. Those of an adapter are the run's, byte for byte (adapter_files). For all others, four
models see the same tokens, all in fp32, so that only their weights differ:

reference  base + adapter by PEFT, not merged
base       the reference with its adapter switched off; the gap to it is the adapter's effect
rounded    the reference merged by PEFT, each weight then rounded to the type that the export has
           it in; the gap to it is what this type costs, whoever merges: rounding
export     what was written

The limits are on the way from `rounded` to the export, which is 0 when our merge gives PEFT's bits:

float32            1e-3, ten times what another order of sums in fp32 makes of a logit
bfloat16, float16, a quarter of rounding, measured on these prompts: sums in another order (another
nf4, q8_0, q4_0 ..  machine) turn the last bit of some weights, rounding of nearly all
K-quants           twice the rounding of an older type with as many bits: the gguf package does not
                   make K-quants, so that their own is not known
greedy tokens      none may differ, but where the reference has both within twice rounding and limit
                   together, as far as two logits may move against each other

An export without the adapter, or with it twice, is off by the adapter's effect. Where the effect is
below the limit the comparison cannot tell, and says so.
"""

import time
from pathlib import Path

from threetoe.export.verify import adapter_files, gguf_file, tokens
from threetoe.export.verify.logits import GGUF, Question, compare
from threetoe.machine.libraries import quieten
from threetoe.run.contract import load_tokenizer
from threetoe.run.probes import prompts_of
from threetoe.run.record import Run, package_versions

FILE = "verify.json"


def verify(folder: Path, kind: str, run: Run, config, memory: int | None = None) -> dict:
    """What verify.json says of an exported folder; `config.run` is the folder it was made from.
    Models that do not fit into `memory` (bytes; None: what is free) are run a layer at a time.

    `passed` is true or false; `problems` has a line for each figure beyond its limit, `warnings`
    what the comparison could not see. Never raises for what is wrong with the export.
    """
    began = time.monotonic()
    quieten()
    tokenizer = load_tokenizer(config.run, run)
    prompts = prompts_of(config.run, run, tokenizer)
    found = {"passed": False, "kind": kind, "prompts": len(prompts), "problems": [], "warnings": []}
    question = Question(kind, run, config, prompts, memory)
    if kind in GGUF:
        check_files(found, sorted(folder.glob("*.gguf")), question, tokenizer)
    else:
        check(found, folder, question, tokenizer)
    found["passed"] = not found["problems"]
    found["seconds"] = round(time.monotonic() - began, 1)
    found["versions"] = package_versions()
    return found


def check(found: dict, place: Path, question: Question, tokenizer) -> None:
    """Add what is found of a folder, or of one GGUF file: tokens, and if they are right weights."""
    checked = gguf_file if question.kind in GGUF else tokens
    found["problems"] += checked.problems(place, question.run, question.prompts, tokenizer)
    if question.kind == "adapter":
        found["problems"] += adapter_files.problems(place, question.config.run)
    elif not found["problems"]:
        compare(found, place, question)


def check_files(found: dict, files: list[Path], question: Question, tokenizer) -> None:
    """Add what is found of each GGUF file."""
    found["files"] = {}
    if not files:
        found["problems"].append("it holds no GGUF file")
    for file in files:
        one = found["files"][file.name] = {"problems": [], "warnings": []}
        check(one, file, question, tokenizer)
        for kind in ("problems", "warnings"):
            found[kind] += [f"{file.name}: {line}" for line in one[kind]]


def not_verified(kind: str) -> dict:
    """What verify.json says after --no-verify."""
    return {"passed": None, "kind": kind, "problems": [], "warnings": ["not checked: --no-verify"]}


def said(found: dict) -> str:
    """', checked: largest gap 0.0041, 128 of 128 tokens agree'; '' for what has no figures."""
    if not found:
        return ""
    if found["passed"] is None:
        return ", not checked"
    if not found["passed"]:
        return f", WRONG, and kept by --force: {'; '.join(found['problems'])}"
    return f", checked: {summary(found)}"


def summary(found: dict) -> str:
    if "files" in found:
        return "; ".join(f"{name}: {summary(one)}" for name, one in found["files"].items())
    if "gap" not in found:
        return "; ".join(["ids and files agree", *found["warnings"]])
    counts, ties = found["tokens"], found["tokens"]["ties"]
    tied = f" ({ties} tied)" if ties else ""
    agree = f"{counts['same'] + ties} of {counts['positions']} tokens agree{tied}"
    return "; ".join([f"largest gap {found['gap']['max']}, {agree}", *found["warnings"]])
