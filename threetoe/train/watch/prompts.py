"""What is asked of watching, checked first; and the prompts that are asked again and again."""

from importlib.util import find_spec
from pathlib import Path

from threetoe.errors import UserError, reading
from threetoe.options.train import TrainConfig
from threetoe.run.probes import short_rows
from threetoe.run.score.score import check_packages
from threetoe.train.row_sets import RowSets

COUNT = 3  # rows


def check_watching(config: TrainConfig) -> None:
    """UserError where a tracker is not installed, or prompts are never asked or cannot be read."""
    problems = [
        f"--report-to {name}: it is not installed; pip install {name}"
        for name in config.report_to
        if not find_spec(name)
    ]
    if config.run_name and not config.report_to:
        problems.append(f"--run-name {config.run_name}: no tracker is named with --report-to.")
    if config.metric_for_best_model != "loss" and not config.metrics:
        problems.append(f"--metric-for-best-model {config.metric_for_best_model}: give --metrics.")
    if config.sample_prompts and not config.sample_steps:
        problems.append(f"--sample-prompts {config.sample_prompts}: --sample-steps says when.")
    if problems:
        raise UserError(*problems)
    if config.metrics:
        check_packages("--metrics")
    if config.sample_prompts:
        read_prompts(config.sample_prompts)


def read_prompts(file: Path) -> list[dict]:
    """A prompt a line; UserError where there is none."""
    with reading(file):
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    made = [
        {"where": f"{file.name}:{n}", "asked": [{"role": "user", "content": line.strip()}]}
        for n, line in enumerate(lines, 1)
        if line.strip()
    ]
    if not made:
        raise UserError(f"--sample-prompts {file} has no prompts; write one a line.")
    return made


def rows_to_ask(rows: RowSets) -> list[dict]:
    """Short rows with an answer, which stands beside what is asked; none of whole texts."""
    encoded, indices = rows.training, rows.trained
    if rows.validation:
        encoded, indices = rows.validation, rows.validated
    found = encoded.conversations.chosen(short_rows(encoded, indices, COUNT))
    return [
        {"where": row.where, "asked": row.messages[:-1], "expected": row.messages[-1]["content"]}
        for row in found
        if isinstance(row.messages, list) and row.messages[-1]["role"] == "assistant"
    ]
