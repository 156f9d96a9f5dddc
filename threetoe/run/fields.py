"""The types of what a run's records hold: run.json may be anyone's, and damaged."""

from dataclasses import fields
from pathlib import Path
from typing import Literal, Required, TypedDict

from threetoe.options.train import TrainConfig

TEXTS = list[str | list[str]] | str  # names, or pairs; of one dataset the name alone


def type_of(option):
    """How JSON has an option's value."""
    return {tuple: TEXTS, Path: str}.get(option.type, option.type) | None


OPTIONS = {f.name: type_of(f) for f in fields(TrainConfig) if "help" in f.metadata}
OPTIONS |= {"model": Required[str], "load_in_4bit": Required[bool | None], "dataset": TEXTS}
Options = TypedDict("Options", OPTIONS, total=False)


class MarkTexts(TypedDict, total=False):
    """The fields of Marks."""

    bos: Required[str]
    eos: Required[str]
    special: Required[list[str]]
    swallowing: list[str]


class Lengths(TypedDict):
    """Of rows, in tokens."""

    median: float
    p95: float
    longest: float


class Account(TypedDict, total=False):
    """The ledger of rows, as the card tells it; empty where other tools trained."""

    source: str
    validation_source: "Account"
    read: int
    trained: int
    validation: int
    truncated: int
    duplicates: int
    tokens: int
    dropped: dict[str, int] | list | int  # the latter of older versions
    skipped: dict[str, int] | list | int
    answers: dict[str, int] | None
    lengths: Lengths | None


class Message(TypedDict, total=False):
    role: Required[Literal["system", "user", "assistant", "text"]]
    content: Required[str]
    input: str | None


class Ids(TypedDict):
    input_ids: list[int]


class Point(TypedDict, total=False):
    """A line of metrics.jsonl."""

    step: Required[int]
    loss: float | None
    eval_loss: float | None
    eval_sample_loss: float | None
    learning_rate: float | None


class Figures(TypedDict, total=False):
    """The metrics of a run, as collect_metrics has them."""

    steps: int
    seconds: float
    continued_at: int  # step
    saved_step: int  # the best, where that is saved
    eval_loss_start: float
    eval_loss: float
    eval_loss_best: float
    eval_loss_best_step: int
    tokens: int
    peak_memory: int


class Sample(TypedDict, total=False):
    """A line of samples.jsonl: what was answered after a step, by the base after step 0."""

    step: Required[int]
    where: Required[str]  # the place of what is asked
    asked: Required[list[Message]]
    expected: str
    answer: Required[str]
    ended: bool  # by itself


class Evaluation(TypedDict, total=False):
    """A line of evaluations.jsonl."""

    file: Required[str]
    split: str | None
    adapter: Required[bool]
    answers: Required[int]
    metrics: Required[dict[str, float]]
    intervals: dict[str, tuple[float, float]]  # of 95 %
    labels: dict[str, dict[str, float]]  # run/score/labels.report


class Judged(TypedDict, total=False):
    """A line of scores.jsonl: the answers to validation rows after a step."""

    step: Required[int]
    answers: Required[int]
    metrics: Required[dict[str, float]]
    labels: dict[str, dict[str, float]]
