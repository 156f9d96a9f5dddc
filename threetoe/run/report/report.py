"""Writes report.html into a run folder, from what lies there: one file without requests and
scripts, in which all texts of data and models are escaped.

What the page says stands in report.html.jinja; here is what it needs.
"""

import shlex
from base64 import b64encode
from pathlib import Path

from threetoe.errors import UserError, without_tokens
from threetoe.machine.terminal import clock, shown, visible
from threetoe.options.command import command, spell_flag
from threetoe.options.config_file import NOT_REPEATED, OF_RECORD
from threetoe.options.train import TrainConfig, options_of
from threetoe.run import record, told
from threetoe.run.losses import picture_in, read_points
from threetoe.run.record import METRICS
from threetoe.run.report.plot import plot_losses, plot_rate
from threetoe.run.score.metrics import EXACT
from threetoe.run.score.score import SHARES
from threetoe.run.score.table import NAMES
from threetoe.run.summary import Summary, rows_of, summarize

REPORT = "report.html"
NAMES = {**NAMES, EXACT: "exactly right"}
ALWAYS = ("dataset", "template", "model")  # said in a command
LABELS = 30  # of the answers that are counted


def write_report(folder: Path) -> Path:
    """Write the page anew, whole or not at all; UserError where the folder is no finished run."""
    _, run = record.load(folder)
    if not (folder / METRICS).exists():
        raise UserError(f"--run {folder} was not trained there: it has no {METRICS} to report.")
    page = render(facts_of(folder, run))
    path = folder / REPORT
    temporary = path.with_name(REPORT + ".tmp")
    temporary.unlink(missing_ok=True)  # a link is not written through
    with temporary.open("x", encoding="utf-8", errors="backslashreplace") as file:
        file.write(page)
    temporary.replace(path)
    return path


def render(facts: dict) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent, encoding="utf-8"), undefined=StrictUndefined,
        autoescape=True, trim_blocks=True, lstrip_blocks=True, finalize=harmless,
    )  # fmt: skip
    environment.filters |= {"shown": told.shown, "size": shown, "clock": clock}
    return environment.get_template("report.html.jinja").render(facts)


def harmless(value):
    """A text without control characters and tokens of the Hub; what is markup stays."""
    return without_tokens(visible(value)) if type(value) is str else value


def facts_of(folder: Path, run: record.Run) -> dict:
    """What the page says; of places on this machine the names alone, as in the model card."""
    published = record.without_paths(run)
    options, defaults = published["options"], options_of(TrainConfig())
    points, saved_step = read_points(folder / METRICS), run.metrics.get("saved_step")
    scored = told.judged_in(folder, saved_step) + told.evaluations_in(folder)
    summary = summarize(folder)
    return {
        "name": folder.resolve().name,
        "summary": summary,
        "tiles": tiles(summary),
        "command": command_of(options),
        "data": published["data"],
        "samples": told.samples_in(folder, saved_step),
        "sampled": sampled(run),
        "account": told.account(published["data"]),
        "labels": dict(list((published["data"].get("answers") or {}).items())[:LABELS]),
        "losses": plot_losses(points),
        "rate": plot_rate(points),
        "scores": scores(scored),
        "by_label": by_label(scored),
        "confusion": encoded(picture_in(folder, "confusion.png")),
        "differing": told.settings(options, defaults),
        "options": {n: v for n, v in options.items() if v not in (None, "", [], ())},
        "versions": {"threetoe": run.threetoe, **run.packages},
        "plugins": published["plugins"],
        "precision": run.precision,
        "commands": commands_for(shlex.quote(f"runs/{folder.resolve().name}")),
    }


def sampled(run: record.Run) -> str:
    """What was asked before and after."""
    if run.options.get("sample_prompts"):
        return "Prompts that were given."
    known = bool(run.data.get("validation") or run.data.get("validation_source"))
    return "Rows that it was" + " not" * known + " trained on."


def tiles(summary: Summary) -> list[tuple[str, str, str]]:
    """(what, figure, remark) of what is known, as one would say it first."""
    s, made = summary, []
    for name, value in list((s.score or {}).items())[:2]:
        base = (s.base_score or {}).get(name)
        remark = "" if base is None else f"its base: {figure(name, base)}"
        made.append((NAMES.get(name, name), figure(name, value), remark))
    if s.validation:
        before, lowest, after = s.validation
        remark = f"lowest: {lowest:.4g}, at step {s.lowest_at}"
        made.append(("validation loss", f"{before:.2g} → {after:.2g}", remark))
    if s.loss:
        made.append(("training loss", "{:.2g} → {:.2g}".format(*s.loss), "at both ends"))
    trained = "" if s.tokens is None else f"{s.tokens:,} tokens trained"
    made += [("rows", f"{s.rows:,}", trained)] * (s.rows is not None)
    if s.seconds is not None and s.steps:
        made.append(("time", clock(s.seconds), f"{s.steps:,} step{'s' * (s.steps > 1)}"))
    made += [("memory", shown(s.peak_memory), "at its peak")] if s.peak_memory else []
    return made


def scores(rows: list[dict]) -> list[list[str]]:
    """The lines of a table, its head first."""
    names = list(dict.fromkeys(name for row in rows for name in row["metrics"]))
    made = [["rows", "answered by", *(NAMES.get(name, name) for name in names)]]
    for row in rows:
        cells = [figure(n, row["metrics"][n]) if n in row["metrics"] else "" for n in names]
        made.append([rows_of(row), "this run" if row["adapter"] else "its base", *cells])
    return made if rows else []


def by_label(rows: list[dict]) -> list[list[str]]:
    """Precision, recall and F1 of each label in the last evaluation that has such."""
    labels = next((row["labels"] for row in reversed(rows) if row.get("labels")), {})
    names = ("rows", "precision", "recall", "f1")
    made = [
        [label, *(f"{row.get(name, 0):.3g}" for name in names)] for label, row in labels.items()
    ]
    return [["label", *names], *made] if made else []


def encoded(picture: Path | None) -> str:
    """A picture in the page itself."""
    if picture is None:
        return ""
    return f"data:image/png;base64,{b64encode(picture.read_bytes()).decode()}"


def commands_for(run: str) -> list[list[str]]:
    return [
        ["python infer.py", f"--run {run}", '"Your question"'],
        ["python infer.py", f"--run {run}", "--web"],
        ["python export.py", f"--run {run}", f"--merged {run}-merged"],
    ]


def figure(name: str, value: float) -> str:
    return f"{value:.1%}" if name in SHARES else f"{value:.4g}"


def command_of(options: dict) -> list[str]:
    """The words of the command that trains the same again: what is not the default."""
    params = {param.name: param for param in command(TrainConfig)(print).params}
    defaults, words = options_of(TrainConfig()), []
    for name, value in options.items():
        as_usual = name not in ALWAYS and told.shown(value) == told.shown(defaults.get(name))
        if name in params and not as_usual and name not in (*NOT_REPEATED, *OF_RECORD):
            value = told.shown(value) if isinstance(value, str) else value
            words += spell_flag(name, params[name], value)
    return ["python train.py", *map(typed, words)]


def typed(word: str) -> str:
    """--rows=4 as --rows 4"""
    flag, _, value = word.partition("=")
    if not value or value.startswith("-"):
        return shlex.quote(word)
    return f"{flag} {shlex.quote(value)}"
