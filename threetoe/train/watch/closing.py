"""The end of a training: how it went, an answer of base and run, and what comes next."""

import shlex
from pathlib import Path

from threetoe.data.ledger import short_label
from threetoe.errors import first_line
from threetoe.machine.records import read_lines
from threetoe.machine.terminal import clear_line, say, show_progress
from threetoe.options.train import TrainConfig
from threetoe.run import losses
from threetoe.run.probes import short_rows
from threetoe.run.record import METRICS, SCORES
from threetoe.run.score.picture import draw
from threetoe.run.score.score import Scores
from threetoe.run.score.table import lines
from threetoe.train.prepare import Prompting
from threetoe.train.row_sets import RowSets
from threetoe.train.trainer import validation_line
from threetoe.train.watch.asking import ask, question_in, text_of

TOKENS = 24  # of a sample answer, at most: a few seconds on a T4
SHOWN = 72  # letters of each line


def say_result(metrics: dict, folder: Path) -> None:
    """How many steps it took, and how the losses fell."""
    loss = losses.said(losses.read_points(folder / METRICS))
    loss = loss or f"mean loss {metrics['train_loss']:.4f}"
    say(f"{metrics['steps']} steps in {metrics['seconds']:.0f} s, {loss}, saved in {folder}")
    if "eval_loss" in metrics:
        say(validation_line(metrics))
    scores = read_lines(folder / SCORES)
    saved = metrics.get("saved_step", metrics["steps"])
    for row in [row for row in scores if row.pop("step") == saved][-1:]:
        told = Scores(**row)
        for line in lines({"validation": told}):
            say(line)
        if told.confusion:
            draw(folder / "confusion.png", {"validation": told}, f"Validation: {folder.name}")
    if metrics.get("saved_step", metrics["steps"]) != metrics["steps"]:
        say(f"saved is the adapter of step {metrics['saved_step']}, the best that was measured")


def look_ahead(model, prompting: Prompting, rows: RowSets, job) -> None:
    """A sample answer, and the commands that come next."""
    show_sample(model, prompting, rows)
    say_next(job.folder, job.config)


def show_sample(model, prompting: Prompting, rows: RowSets) -> None:
    """What base and run answer to a short row; the run is saved by now, so what goes wrong here is
    said and ends nothing."""
    show_progress("asking base and run")
    encoded, indices, what = rows.training, rows.trained, "trained"
    if rows.validation:
        encoded, indices, what = rows.validation, rows.validated, "validation"
    (row,) = encoded.conversations.chosen(short_rows(encoded, indices, 1))
    if isinstance(row.messages, dict) or row.messages[-1]["role"] != "assistant":
        return clear_line()
    *asked, answer = row.messages
    try:
        base, run = (ask(model, prompting, [asked], TOKENS, told)[0] for told in (False, True))
    except Exception as error:  # whatever a library, or a plugin's model, makes of a question
        return say(f"no sample answer: {first_line(error)}")
    clear_line()
    say(f"the {what} row {row.where}:")
    lines = {"asked": question_in(asked), "base": text_of(base), "run": text_of(run)}
    lines["data"] = answer["content"]
    for name, text in lines.items():
        say(f"  {name.ljust(5)} {short_label(text, SHOWN)}")


def say_next(folder: Path, config: TrainConfig) -> None:
    """The two commands that come next."""
    run, merged = (shlex.quote(f"{folder}{end}") for end in ("", "-merged"))
    target = f"--push {config.push_to}" if config.push_to else f"--merged {merged}"
    say(f'ask it:     python infer.py --run {run} "Your question"')
    say(f"export it:  python export.py --run {run} {target}")
