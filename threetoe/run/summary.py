"""The figures of a run folder in one place, and whether the training worked, in words."""

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, TypedDict

from threetoe.errors import UserError
from threetoe.machine.files import lock
from threetoe.machine.records import read_json
from threetoe.run import record
from threetoe.run.fields import Options
from threetoe.run.latest import touched_at
from threetoe.run.losses import ends, read_points
from threetoe.run.record import METRICS, PARTIAL, RECORD
from threetoe.run.told import evaluations_in, judged_in, shown

LEARNED_BY_HEART = 1.02  # the last validation loss, of the lowest: more is no chance of batches


class Summary(NamedTuple):
    """None is what is not known; losses are nats a learned token."""

    folder: str
    state: str  # finished, continued (after a stop), unfinished, training; damaged, foreign, export
    problem: str = ""  # why it is damaged
    date: str = ""  # ISO 8601, UTC
    base: str = ""
    template: str = ""
    rows: int | None = None
    steps: int | None = None
    loss: tuple[float, float] | None = None  # at both ends, means of steps
    validation: tuple[float, float, float] | None = None  # before, lowest, after
    lowest_at: int | None = None  # step
    asked: str = ""  # what the last evaluation was of: 180 rows of sentiment (test)
    score: dict[str, float] | None = None  # its metrics
    base_score: dict[str, float] | None = None  # those of the base alone on the same rows
    seconds: float | None = None
    tokens: int | None = None  # trained, those of prompts included
    peak_memory: int | None = None  # bytes

    def verdicts(self) -> list[str]:
        """Sentences; the first says most."""
        said = []
        if self.score and "exact" in self.score:
            share, base = self.score["exact"], (self.base_score or {}).get("exact")
            beside = f", its base {base:.1%}" if base is not None else ""
            said.append(f"Of {self.asked} it answers {share:.1%} exactly right{beside}.")
        if self.validation:
            before, lowest, after = self.validation
            if after > LEARNED_BY_HEART * lowest and self.lowest_at != self.steps:
                said.append(
                    f"On rows that it was not trained on the loss was lowest at step "
                    f"{self.lowest_at} ({lowest:.4g}), and rose to {after:.4g}: from there on it "
                    "learned rows by heart, so fewer steps, or more rows, are better."
                )
            else:
                said.append(f"On rows that it was not trained on {course(before, after)}.")
        elif self.loss:
            said.append(f"On the rows that it was trained on {course(*self.loss)}.")
        return said


class Begun(TypedDict, total=False):
    """run.partial.json"""

    options: Options


def course(before: float, after: float) -> str:
    went = "fell" if after < before else "did not fall: it went"
    return f"the loss {went} from {before:.4g} to {after:.4g}"


def summarize(folder: Path) -> Summary | None:
    """The figures of a folder; None where it holds no run, export or model."""
    there = {path.name for path in folder.iterdir()}
    try:
        if RECORD in there:
            return of_run(folder) if METRICS in there else Summary(str(folder), "export")
        if PARTIAL in there:
            return of_begun(folder)
    except UserError as error:
        return Summary(str(folder), "damaged", error.problems[0])
    known = there & {"adapter_config.json", "config.json"}
    return Summary(str(folder), "foreign") if known else None


def of_run(folder: Path) -> Summary:
    _, run = record.load(folder)
    metrics = run.metrics
    scored = judged_in(folder, metrics.get("saved_step")) + evaluations_in(folder)
    last = next((row for row in reversed(scored) if row["adapter"]), None)
    bases = [row for row in scored if last and not row["adapter"] and rows_of(row) == rows_of(last)]
    losses = [metrics.get(f"eval_loss{end}") for end in ("_start", "_best", "")]
    return Summary(
        str(folder),
        "continued" if metrics.get("continued_at") else "finished",
        date=run.finished,
        **named(run.options),
        rows=run.data.get("trained"),
        steps=metrics.get("steps"),
        loss=ends(read_points(folder / METRICS)),
        validation=None if None in losses else tuple(losses),
        lowest_at=metrics.get("eval_loss_best_step"),
        asked=rows_of(last) if last else "",
        score=last and last["metrics"],
        base_score=bases[-1]["metrics"] if bases else None,
        seconds=metrics.get("seconds"),
        tokens=metrics.get("tokens"),
        peak_memory=metrics.get("peak_memory"),
    )


def rows_of(scored: dict) -> str:
    split = f" ({scored['split']})" if scored.get("split") else ""
    return f"{scored['answers']:,} rows of {shown(scored['file'])}{split}"


def of_begun(folder: Path) -> Summary:
    points = read_points(folder / METRICS)
    options = read_json(folder / PARTIAL, Begun).get("options", {})
    state = "training" if is_held(folder) else "unfinished"
    steps = max((point["step"] for point in points), default=0)
    touched = datetime.fromtimestamp(touched_at(folder), UTC).isoformat(timespec="seconds")
    known = {"date": touched, **named(options), "steps": steps, "loss": ends(points)}
    return Summary(str(folder), state, **known)


def named(options: dict) -> dict:
    return {"base": shown(options.get("model")), "template": shown(options.get("template"))}


def is_held(folder: Path) -> bool:
    """Whether a training is writing there now."""
    with suppress(OSError):  # not ours to open
        try:
            lock(folder).close()
        except UserError:
            return True
    return False
