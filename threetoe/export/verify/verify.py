"""The proof of an export: what was written is loaded by plain transformers and compared with base
and adapter. What each figure says stands in docs/export.md, its limit and the reason in logits.py.

Tokens come first: the exported tokenizer's chat template gives the ids that the run was trained
with, and the stop ids are the same. There is no limit to that: they are, or they are not.

Then weights. Those of an adapter are the run's, byte for byte (adapter_files). All others are
compared twice, in fp32, in which 16-bit weights are exact: one by one, with what PEFT's own merge
makes of base and adapter (merged_weights), and as models, on the same tokens (logits). The second
warns and does not fail: coarse types move a model by more than an adapter does, and that is what
was asked for.
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


def verify(folder: Path, kind: str, run: Run, config) -> dict:
    """What verify.json says of an exported folder; `config.run` is the folder it was made from.

    `passed` is true or false; `problems` has a line for each figure beyond its limit, `warnings`
    what the comparison could not see. Never raises for what is wrong with the export.
    """
    began = time.monotonic()
    quieten()
    tokenizer = load_tokenizer(config.run, run)
    prompts = prompts_of(config.run, run, tokenizer)
    found = {"passed": False, "kind": kind, "prompts": len(prompts), "problems": [], "warnings": []}
    question = Question(kind, run, config, prompts)
    if kind in GGUF:
        check_files(found, sorted(folder.glob("*.gguf")), question, tokenizer)
    else:
        check(found, folder, question, tokenizer)
    found["passed"] = not found["problems"]
    found["run"] = source(config.run, run)
    found["seconds"] = round(time.monotonic() - began, 1)
    found["versions"] = package_versions()
    return found


def source(folder: Path, run: Run) -> dict:
    """What tells a run from another, or from itself after another training."""
    weights = adapter_files.sha256(folder / adapter_files.WEIGHTS)
    return {"adapter": weights, "template": run.template_hash}


def check(found: dict, place: Path, question: Question, tokenizer) -> None:
    """Add what is found of a folder, or of one GGUF file: tokens, and if they are right weights."""
    checked = gguf_file if question.kind in GGUF else tokens
    found["problems"] += checked.problems(place, question.run, question.prompts, tokenizer)
    if question.kind == "adapter":
        found["problems"] += adapter_files.problems(place, question.config.run)
    elif not found["problems"]:
        compare(found, place, question)


def check_files(found: dict, files: list[Path], question: Question, tokenizer) -> None:
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
    """', checked: 98.4 % of the adapter's effect kept, 127 of 128 tokens the same'; '' for a format
    that is not compared."""
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
    if "kept" not in found:
        return "; ".join(["ids and files agree", *found["warnings"]])
    tokens, kept = found["tokens"], found["kept"]
    effect = [] if kept is None else [f"{100 * kept:.3g} % of the adapter's effect kept"]
    same = f"{tokens['same']} of {tokens['positions']} tokens the same"
    return "; ".join([", ".join([*effect, same]), *found["warnings"]])
