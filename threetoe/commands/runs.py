"""python -m threetoe runs: lists runs with their figures, and sets some side by side; and report,
which writes a run's report.html anew.
"""

import json
from datetime import datetime
from pathlib import Path

import click

from threetoe.errors import UserError
from threetoe.machine.files import check_writable
from threetoe.machine.terminal import columns, visible, width_of
from threetoe.options.types import FILE, PATH
from threetoe.run import record, told
from threetoe.run.latest import latest
from threetoe.run.losses import ends, means_of, read_points, sparkline
from threetoe.run.record import METRICS
from threetoe.run.report.report import figure, tiles, write_report
from threetoe.run.summary import Summary, summarize
from threetoe.train.watch.curves import draw_together

NARROWEST = 8  # columns of a name that is cut
CURVE, NAME = 50, 18  # columns, with one curve a line
NUMBERS = ("rows", "steps", "loss", "valid.", "score")  # stand to the right
PLACES = ("output_dir", "overwrite", "resume", "resume_anyway", "mirror")  # differ in any case


@click.command()
@click.argument("folders", nargs=-1, type=PATH)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@click.option("--output", type=FILE, help="A PNG to write, with the losses of all RUNs in it.")
def runs(folders, as_json, output):
    """List runs with their figures, or compare RUN RUN.

    \b
      python -m threetoe runs                  those in ./runs and here
      python -m threetoe runs FOLDER           those in a folder
      python -m threetoe runs runs/a runs/b    what differs, and the curves
    """
    found = [summarize(folder) for folder in folders if folder.is_dir()]
    chosen = bool(found) and None not in found
    found = found if chosen else in_folders(folders)
    if output:
        draw(output, folders, chosen)
    if as_json:
        return click.echo(json.dumps([one._asdict() for one in found], indent=1))
    click.echo("\n".join(compared(folders, found) if chosen else listed(found)))


@click.command()
@click.argument("run", required=False, type=PATH)
def report(run):
    """Write report.html of RUN anew, or of the latest run.

    With what is in its folder now, such as the figures of infer.py --evaluate.
    """
    click.echo(write_report(run or latest()))


def draw(output: Path, folders: tuple[Path, ...], chosen: bool) -> None:
    if not chosen:
        raise UserError("--output draws the losses of runs: runs RUN RUN --output losses.png.")
    check_writable(output, "--output")
    if output.suffix.lower() != ".png" or output.exists():
        why = "exists already" if output.exists() else "is written as a PNG; name a .png"
        raise UserError(f"--output {output} {why}.")
    points = {
        name: read_points(folder / METRICS)
        for name, folder in zip(told.names_of(folders), folders, strict=True)
    }
    if not draw_together(output, points):
        raise UserError('--output needs matplotlib: pip install -e ".[data]".')


def in_folders(folders: tuple[Path, ...]) -> list[Summary]:
    """The runs in folders, the oldest first; UserError where there are none at all."""
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder} is no folder.")
    places = folders or [place for place in (Path("runs"), Path()) if place.is_dir()]
    inner = dict.fromkeys(path for place in places for path in sorted(place.iterdir()))
    found = [summarize(path) for path in inner if path.is_dir()]
    found = sorted(filter(None, found), key=lambda one: one.date)
    if not found:
        raise UserError(f"No runs in {' or '.join(map(str, places))}; train one, or name a folder.")
    return found


def listed(found: list[Summary]) -> list[str]:
    """A table of runs, then a line each of the damaged ones, and one of what is none."""
    ours = [one for one in found if one.steps is not None]
    rows = [{"run": Path(one.folder).name, **cells(one)} for one in ours]
    lines = table(rows) if rows else ["no runs"]
    lines += [f"damaged: {plain(one.problem)}" for one in found if one.state == "damaged"]
    for state in ("export", "foreign"):
        names = [plain(Path(one.folder).name) for one in found if one.state == state]
        lines += [f"no run, but {state}: {', '.join(names)}"] if names else []
    return lines


def cells(one: Summary) -> dict[str, str]:
    """What the table says of a run; of the columns that are empty in all lines there are none."""
    name, value = next(iter((one.score or {}).items()), ("", None))
    return {
        "date": said_date(one.date),
        "base": Path(one.base).name,
        "template": one.template,
        "rows": "" if one.rows is None else f"{one.rows:,}",
        "steps": f"{one.steps:,}",
        "loss": f"{one.loss[1]:.3g}" if one.loss else "",
        "valid.": f"{one.validation[2]:.3g}" if one.validation else "",
        "score": "" if value is None else figure(name, value),
        "state": "" if one.state == "finished" else one.state,
    }


def said_date(date: str) -> str:
    """11-24 14:30, of this machine's clock; other years say so."""
    try:
        moment = datetime.fromisoformat(date).astimezone()
    except ValueError:
        return ""
    this_year = moment.year == datetime.now().year
    return moment.strftime("%m-%d %H:%M" if this_year else "%Y-%m-%d")


def table(rows: list[dict[str, str]]) -> list[str]:
    """Lines that fit the terminal: names are cut where it is narrow."""
    names = [name for name in rows[0] if any(row[name] for row in rows)]
    rows = [dict(zip(names, names, strict=True)), *rows]
    rows = [{name: plain(row[name]) for name in names} for row in rows]
    widths = {name: max(width_of(row[name]) for row in rows) for name in names}
    room = max(columns(), 60) - 2 * (len(names) - 1)
    while sum(widths.values()) > room:
        widest = max(("run", "base", "template"), key=lambda name: widths.get(name, 0))
        if widths[widest] <= NARROWEST:
            break
        widths[widest] -= 1
    return [
        "  ".join(fitted(row[n], widths[n], n in NUMBERS) for n in names).rstrip() for row in rows
    ]


def plain(text: str) -> str:
    """In one line, and harmless to a terminal."""
    return " ".join(visible(text).split())


def fitted(text: str, width: int, right: bool = False) -> str:
    """A text in so many columns; what is longer is cut."""
    if width_of(text) > width:
        while width_of(text) >= width:
            text = text[:-1]
        text += "…"
    space = " " * (width - width_of(text))
    return space + text if right else text + space


def compared(folders: tuple[Path, ...], found: list[Summary]) -> list[str]:
    """The figures of runs side by side, what differs between them, and their curves."""
    records = [record.load(folder)[1] for folder in folders]
    figures = [{what: value for what, value, _ in tiles(one)} for one in found]
    options = [{n: told.shown(v) for n, v in run.options.items()} for run in records]
    data = [{"rows": run.data.get("fingerprint", "")} for run in records]
    parts = {
        "": side_by_side(figures),
        "options": differing(options, PLACES),
        "versions": differing([run.packages for run in records]),
        "data, as hashes": differing(data),
    }
    lines, heads = [], list(map(plain, told.names_of(folders)))
    for title, rows in parts.items():
        if rows:
            lines += [*aligned({title: heads, **rows}), ""]
    points = [read_points(folder / METRICS) for folder in folders]
    return lines + curves(dict(zip(heads, points, strict=True)))


def side_by_side(sides: list[dict]) -> dict[str, list[str]]:
    names = dict.fromkeys(name for side in sides for name in side)
    return {name: [side.get(name, "") for side in sides] for name in names}


def differing(sides: list[dict], passed_over: tuple = ()) -> dict[str, list[str]]:
    rows = side_by_side(sides)
    return {n: row for n, row in rows.items() if len({*row}) > 1 and n not in passed_over}


def aligned(rows: dict[str, list[str]]) -> list[str]:
    """Names and their values in columns that fit the terminal, and are as wide as each other."""
    wide = max(map(width_of, rows))
    rows = {name: list(map(plain, values)) for name, values in rows.items()}
    most = max(width_of(value) for values in rows.values() for value in values)
    each = min(most, (max(columns(), 60) - wide) // len(next(iter(rows.values()))) - 2)
    return [
        "  ".join([fitted(name, wide), *(fitted(value, each) for value in values)]).rstrip()
        for name, values in rows.items()
    ]


def curves(runs: dict[str, list[dict]]) -> list[str]:
    """A line a run, all to the same scale: how the loss went."""
    both = {name: ends(points) for name, points in runs.items() if ends(points)}
    if not both:
        return []
    losses = {name: [p["loss"] for p in runs[name] if "loss" in p] for name in both}
    means = {name: means_of(losses[name])[0] for name in both}
    low, high = (end(end(values) for values in means.values()) for end in (min, max))
    wide = min(max(map(width_of, both)), NAME)
    last = max(runs[name][-1]["step"] for name in both)
    lines = [f"loss, from {high:.4g} (█) to {low:.4g} (▁), {last:,} steps across"]
    for name, values in means.items():
        cells = max(1, round(CURVE * runs[name][-1]["step"] / max(last, 1)))
        drawn = sparkline(values, cells, low, high)
        lines.append(f"{fitted(name, wide)}  {drawn}  {both[name][1]:.4g}")
    return lines
