"""What is told of a run to people: by its model card, its report and the list of runs."""

import re
from collections.abc import Sequence
from pathlib import Path, PureWindowsPath

from threetoe.machine.records import read_lines
from threetoe.run.fields import Evaluation, Judged, Sample
from threetoe.run.record import EVALUATIONS, SAMPLES, SCORES

MAIN = """
    lora_r lora_alpha learning_rate max_steps num_train_epochs per_device_train_batch_size
    gradient_accumulation_steps max_seq_length optim lr_scheduler_type load_in_4bit seed
""".split()
NOBODYS = """
    plugin settings dataset_path output_dir push_to preview dry_run model
    dataset template allow_dropped
""".split()  # said elsewhere in the card, or nobody's business


def account(ledger: dict) -> dict:
    """{what: rows} of the account of rows."""
    if not ledger:
        return {}
    rows = {name: ledger[name] for name in ("read", "trained") if name in ledger}
    for name, words in (
        ("validation", "kept for validation"), ("truncated", "cut to fit"),
        ("duplicates", "stand in it more than once"), ("tokens", "tokens trained on"),
    ):  # fmt: skip
        if ledger.get(name):
            rows[words] = ledger[name]
    for what in ("dropped", "skipped"):
        for reason, count in ledger.get(what, {}).items():
            rows[f"{what}: {reason}"] = count
    return {words: f"{count:,}" for words, count in rows.items()}


def settings(options: dict, defaults: dict) -> dict:
    """The main options, and those that are not the default."""
    told = {name: options[name] for name in MAIN if options.get(name) is not None}
    for name, value in options.items():
        differs = name not in defaults or shown(value) != shown(defaults[name])
        if name not in NOBODYS and value not in (None, "", [], ()) and differs:
            told.setdefault(name, value)
    return told


def evaluations_in(source: Path) -> list[dict]:
    """The last evaluation of each file, with and without the adapter; in order of their making."""
    rows = read_lines(source / EVALUATIONS, Evaluation)
    return list({(r["file"], r.get("split"), r["adapter"]): r for r in rows}.values())


def judged_in(source: Path, saved_step: int | None) -> list[dict]:
    """The figures of the answers to validation rows after the step that was saved, or the last, as
    an evaluation has them; none where --metrics was not asked for."""
    lines = read_lines(source / SCORES, Judged)
    found = [line for line in lines if saved_step in (None, line["step"])]
    return [line | {"file": "validation", "adapter": True} for line in found[-1:]]


def samples_in(source: Path, saved_step: int | None = None) -> list[dict]:
    """What was asked, expected, and answered after each step, of each prompt of samples.jsonl:
    {"where", "asked", "expected", "answers": {"base", "step 60", "this run"}}. The run is what was
    saved: by default the last step."""
    lines = read_lines(source / SAMPLES, Sample)
    saved = saved_step or max((line["step"] for line in lines), default=0)
    found: dict[tuple, dict] = {}
    for line in lines:
        asked = "\n".join(m[k] for m in line["asked"] for k in ("content", "input") if m.get(k))
        sample = {
            "where": line["where"],
            "asked": asked,
            "expected": line.get("expected"),
            "answers": {},
        }
        sample = found.setdefault((line["where"], asked), sample)
        by = {saved: "this run", 0: "base"}.get(line["step"], f"step {line['step']}")
        sample["answers"][by] = line["answer"] + "…" * (not line.get("ended", True))
    return list(found.values())


def shown(value) -> str:
    """A value as a reader may see it: of a local path only its last part, lists in one line."""
    if isinstance(value, (list, tuple)):
        return ", ".join(map(shown, value))
    if isinstance(value, dict):
        return ", ".join(f"{key}: {shown(item)}" for key, item in value.items())
    if isinstance(value, float):
        return f"{value:.6g}"
    text = "" if value is None else str(value)
    if re.match(r"[/~\\]|\.{1,2}[/\\]|[A-Za-z]:[/\\]", text) and "\n" not in text:
        return PureWindowsPath(text).name
    return text


def names_of(folders: Sequence[Path]) -> list[str]:
    """The names of folders, with as many of those above them as tell all apart."""
    paths = [folder.resolve().parts for folder in folders]
    for many in range(1, max(map(len, paths)) + 1):
        names = ["/".join(path[-many:]) for path in paths]
        if len(set(names)) == len(set(paths)):
            break
    return names
