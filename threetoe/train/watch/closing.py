"""The end of a training: answers of base and run, the report, how it went, what comes next."""

import shlex
from pathlib import Path

from threetoe.data.ledger import short_label
from threetoe.errors import first_line
from threetoe.machine.records import read_lines
from threetoe.machine.terminal import clear_line, clock, say, show_progress, shown
from threetoe.options.train import TrainConfig
from threetoe.run import losses
from threetoe.run.record import METRICS, SAMPLES, SCORES
from threetoe.run.report.report import REPORT, write_report
from threetoe.run.score.picture import draw
from threetoe.run.score.score import Scores
from threetoe.run.score.table import lines
from threetoe.run.told import samples_in
from threetoe.train.prepare import Prompting
from threetoe.train.row_sets import RowSets
from threetoe.train.trainer import validation_line
from threetoe.train.watch.asking import ask, undisturbed
from threetoe.train.watch.prompts import read_prompts, rows_to_ask

TOKENS = 40  # of a sample answer, at most: a few seconds on a T4
SHOWN, COLUMN = 72, 12  # letters of a line, columns of a name


def look_back(model, prompting: Prompting, rows: RowSets, job, metrics: dict) -> None:
    """Samples and the report, in the run's folder; the run is saved by now, so what goes wrong
    here is said and ends nothing."""
    folder = job.folder
    saved = metrics.get("saved_step", metrics["steps"])
    best = f": the adapter of step {saved}, the best that was measured"
    say(f"saved in {folder}" + best * (saved != metrics["steps"]))
    show_scores(folder, saved)
    try:
        what, file = (
            "validation row" if rows.validation else "trained row",
            job.config.sample_prompts,
        )
        asked = read_prompts(file) if file else rows_to_ask(rows)
        keep_samples(model, prompting, asked, folder, saved)
        show_sample(folder, saved, "prompt" if file else what)
    except Exception as error:  # whatever a library, or a plugin's model, makes of a question
        say(f"no sample answer: {first_line(error)}")
    try:
        write_report(folder)
    except Exception as error:  # of the drive, of a template, of a record that a plugin changed
        say(f"no {REPORT}: {first_line(error)}")


def show_scores(folder: Path, saved_step: int) -> None:
    """The figures of the answers to validation rows, and their confusion matrix as a picture."""
    scores = [row for row in read_lines(folder / SCORES) if row.pop("step") == saved_step]
    for told in (Scores(**row) for row in scores[-1:]):
        for line in lines({"validation": told}):
            say(line)
        if told.confusion:
            draw(folder / "confusion.png", {"validation": told}, f"Validation: {folder.name}")


def keep_samples(model, prompting: Prompting, asked: list[dict], folder: Path, step: int) -> None:
    """Ask base and run, as it was after the step that is saved, where --sample-steps has not."""
    from threetoe.train.watch.samples import note  # it imports transformers

    there = {line["step"] for line in read_lines(folder / SAMPLES)}
    questions = [row["asked"] for row in asked]
    for after in sorted({0, step} - there) if asked else ():
        show_progress("asking base and run")
        with undisturbed(model, prompting.tokenizer):
            replies = ask(model, prompting, questions, TOKENS, after > 0)
        note(folder / SAMPLES, after, asked, replies)
    clear_line()


def show_sample(folder: Path, saved_step: int, what: str) -> None:
    """The first of them."""
    for sample in samples_in(folder, saved_step)[:1]:
        say(f"the {what} {sample['where']}:")
        answers = sample["answers"]
        lines = {"asked": sample["asked"], "base": answers.get("base")}
        lines |= {"run": answers.get("this run"), "data": sample["expected"]}
        for name, text in lines.items():
            if text is not None:
                say(f"  {name.ljust(5)} {short_label(text, SHOWN)}")


def say_result(rows: RowSets, folder: Path, config: TrainConfig, metrics: dict) -> None:
    """A table: whether it worked, what it took, and what comes next."""
    from threetoe.train.watch.progress import course  # and so does this

    points = losses.read_points(folder / METRICS)
    run, merged = (shlex.quote(f"{folder}{end}") for end in ("", "-merged"))
    target = f"--push {config.push_to}" if config.push_to else f"--merged {merged}"
    table = {
        "loss": f"{losses.said(points)}  {course([p['loss'] for p in points if 'loss' in p])}",
        "validation": validation_line(metrics) if "eval_loss" in metrics else "",
        "rows": rows_line(rows.account(), metrics),
        "took": f"{metrics['steps']:,} steps in {clock(metrics['seconds'])}, at most "
        f"{shown(metrics['peak_memory'])} of memory",
        "report": str(folder / REPORT) if (folder / REPORT).exists() else "",
        "ask it": f'python infer.py --run {run} "Your question"',
        "export it": f"python export.py --run {run} {target}",
    }
    for name, text in table.items():
        if text.strip():
            say(name.ljust(COLUMN) + text)


def rows_line(account: dict, metrics: dict) -> str:
    """'900 trained, 100 for validation, 12 left out; 115,498 tokens'"""
    left_out = sum(account["dropped"].values()) + sum(account["skipped"].values())
    counts = {"for validation": account["validation"], "left out": left_out}
    parts = [f"{account['trained']:,} trained"]
    parts += [f"{count:,} {what}" for what, count in counts.items() if count]
    tokens = f"; {metrics['tokens']:,} tokens" if "tokens" in metrics else ""
    return ", ".join(parts) + tokens
