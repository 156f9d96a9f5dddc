"""train.py --rehearse: all of a training, its stop, a question and an export, in a minute, on a
small random model of the base's kind, so that no hour is spent to find a mistake."""

import time
from collections.abc import Callable
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import replace
from io import StringIO
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple
from unittest.mock import patch

import click

from threetoe.backend.small import write_small
from threetoe.commands.then import plan_then, read_then
from threetoe.errors import Checks, Failure, Stopped, UserError
from threetoe.export.export import export
from threetoe.infer import infer, metrics
from threetoe.infer.output import as_row
from threetoe.infer.questions import as_question
from threetoe.machine import processes
from threetoe.machine.terminal import say
from threetoe.options.export import ExportConfig
from threetoe.options.infer import InferConfig
from threetoe.options.train import TrainConfig
from threetoe.train import train
from threetoe.train.durable.out_of_memory import free_memory
from threetoe.train.plan import plan_training

STEPS, ROWS, AT_ONCE = 4, 16, 2  # trained; rows in all, the shortest, and in a pass
ANSWER = 8  # tokens
TRACKERS = {"WANDB_MODE": "disabled", "COMET_MODE": "disabled", "TRACKIO_SPACE_ID": ""}


class Row(NamedTuple):
    """Of the table that is printed at the end."""

    part: str
    found: str  # ok, FAULT, or not reached
    words: str = ""


def rehearse(config: TrainConfig) -> None:
    """Print a table of what was rehearsed and what was found; UserError or Failure with all
    faults."""
    processes.check_alone()
    began, rows, faults = time.monotonic(), [], []
    with TemporaryDirectory(prefix="threetoe-rehearsal-") as scratch:
        rehearsal, stopped = Rehearsal(config, Path(scratch)), False
        for part, work, others_need_it in rehearsal.parts():
            if stopped:
                rows.append(Row(part, "not reached"))
                continue
            say(f"rehearsing: {part}")
            try:
                rows.append(Row(part, "ok", work()))
            except (UserError, Failure) as error:
                rows.append(Row(part, "FAULT", error.problems[0]))
                faults.append(error)
                stopped = others_need_it
    widths = [max(len(row[n]) for row in rows) for n in (0, 1)]
    for row in rows:
        click.echo(f"{row.part:{widths[0]}}  {row.found:{widths[1]}}  {row.words}".rstrip())
    say(f"rehearsed in {time.monotonic() - began:.0f} s; nothing is kept, nothing was pushed")
    if faults:
        mistaken = all(isinstance(error, UserError) for error in faults)
        problems = [problem for error in faults for problem in error.problems]
        raise (UserError if mistaken else Failure)(*problems)


class Rehearsal:
    """The parts of a rehearsal, each of which returns what is to be said of it."""

    def __init__(self, config: TrainConfig, place: Path):
        self.config, self.place, self.run = config, place, place / "run"
        self.asked = ExportConfig(merged=Path("merged"), plugin=config.plugin)
        self.asked = replace(self.asked, settings=config.settings)

    def parts(self) -> tuple[tuple[str, Callable, bool], ...]:
        """(name, function, whether those after it need it)"""
        return (
            ("options and data", self.check, True),
            ("base", self.make_base, True),
            ("training", self.train, True),
            ("stop and resume", self.resume, True),
            ("questions", self.ask, False),
            ("export", self.export, False),
        )

    def check(self) -> str:
        """As the real command does, with the real base's tokenizer."""
        config = self.config
        checks = Checks(config.problems)
        if config.then is not None and (asked := checks(read_then, config)):
            self.asked = asked
            checks(plan_then, asked, config)
        job = plan_training(replace(config, problems=tuple(checks.problems)))
        self.job, self.prompting, self.rows = train.encode_rows(job, looking=False)
        count = len(self.rows.trained)
        return f"{count:,} rows to train on, template {self.job.template.name}"

    def make_base(self) -> str:
        words = write_small(self.job.config.model, self.prompting.tokenizer, self.place / "base")
        config = self.job.config
        config = replace(
            config, model=str(self.place / "base"), output_dir=self.run, max_steps=STEPS,
            num_train_epochs=None, max_hours=None, finish_by=None, then=None, resume="auto",
            warmup_steps=min(config.warmup, 1), overwrite=False, push_to=None,
            init_adapter=None,
            report_to=(), sample_steps=config.sample_steps and 2,
            mirror=self.place / "mirror" if config.mirror else None,
            eval_steps=config.eval_steps and min(config.eval_steps, 2),
            per_device_train_batch_size=min(config.per_device_train_batch_size, AT_ONCE),
            gradient_accumulation_steps=min(config.gradient_accumulation_steps, AT_ONCE),
        )  # fmt: skip
        self.job = self.job._replace(config=config, folder=self.run)
        self.few = self.rows._replace(trained=shortest(self.rows.training, self.rows.trained))
        if self.rows.validation:
            few = shortest(self.rows.validation, self.rows.validated)
            self.few = self.few._replace(validated=few)
        return words

    def train(self) -> str:
        """Until SIGTERM, which Interruption sends."""
        try:
            self.fit()
        except Stopped:
            free_memory()
            return "two steps, then SIGTERM"
        return f"{STEPS} steps; a plugin's own trainer did not stop at SIGTERM"

    def resume(self) -> str:
        if not (self.run / "run.json").exists():
            self.fit()
            free_memory()
        return f"continued to step {STEPS} and saved"

    def fit(self) -> None:
        with unheard(), patch.dict("os.environ", TRACKERS):
            train.fit(self.job, self.prompting, self.few)

    def ask(self) -> str:
        """Questions of the data, with what is expected of them; hello where it has none."""
        asked = InferConfig(
            prompt="Hello", run=self.run, run_plugins=False, plugin=self.config.plugin,
            settings=self.config.settings, max_new_tokens=ANSWER,
        )  # fmt: skip
        with unheard():
            job, tokenizer = infer.load_tokenizer(infer.plan_inference(asked))
            if questions := self.questions():
                functions = job.hooks.owned("register_metrics", config=asked)
                job = job._replace(questions=questions, metrics=functions)
            job, prompts = infer.encode_questions(job, tokenizer)
            model = infer.load_model(job, max(map(len, prompts)) + ANSWER)
            answers = list(infer.answer(job, model, tokenizer, prompts))
            rows = list(map(as_row, answers))
            if any("expected" in row for row in rows):
                named = replace(asked, file=self.config.datasets[0])
                metrics.evaluate(job.metrics, rows, named, job.folder)
            job.hooks.end()
        return f"{len(answers)} answered"

    def questions(self) -> list:
        found = (c for c in self.rows.training.conversations if isinstance(c.messages, list))
        return [as_question(c) for c in islice(found, AT_ONCE) if c.messages[0]["role"] != "text"]

    def export(self) -> str:
        with unheard():
            outputs = export(moved(self.asked, self.run, self.place))
        return f"{', '.join(outputs)} written" + " and proven" * self.asked.verify


def shortest(encoded, indices):
    """ROWS of the rows at these indices, in their order."""
    return indices[sorted(encoded.lengths[indices].argsort(kind="stable")[:ROWS])]


def moved(asked: ExportConfig, run: Path, place: Path) -> ExportConfig:
    """The export into other folders, and of the small base; pushed is nothing."""
    kinds = ("adapter", "merged", "merged_4bit", "ollama")
    changes = {kind: place / kind for kind in kinds if getattr(asked, kind)}
    changes |= {"gguf_dir": place / "gguf"} if asked.gguf else {}
    changes["format"] = tuple((name, str(place / f"as-{name}")) for name, _ in asked.format)
    if not (changes["format"] or changes.keys() - {"format"}):
        changes["adapter"] = place / "adapter"  # only pushed
    return replace(
        asked, run=run, run_plugins=False, push=None, private=False, revision=None, create_pr=False,
        force=False, base=None, base_weights=None, **changes,
    )  # fmt: skip


@contextmanager
def unheard():
    """Keeps what the parts say to themselves, unless they fail."""
    said = StringIO()
    try:
        with redirect_stdout(said), redirect_stderr(said):
            yield
    except Stopped:
        raise
    except BaseException:
        click.echo(said.getvalue().rstrip(), err=True)
        raise
