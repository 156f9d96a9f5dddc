"""The run that is meant where none is named, and what is said of it."""

import time
from pathlib import Path

from threetoe.errors import UserError
from threetoe.run.record import METRICS, PARTIAL, RECORD, Run

UNITS = {"day": 86_400, "hour": 3600, "minute": 60, "second": 1}


def latest() -> Path:
    """The run that finished last, of those in ./runs and in the current folder; exports, which
    have no metrics, are none."""
    found = [path for path in runs_with(RECORD) if (path / METRICS).exists()]
    if not found:
        raise UserError("No run found in ./runs or here; train one first, or name it with --run.")
    return max(found, key=finished_at)


def runs_with(name: str) -> list[Path]:
    return [path.parent for path in (*Path("runs").glob(f"*/{name}"), *Path().glob(f"*/{name}"))]


def finished_at(folder: Path) -> float:
    return (folder / RECORD).stat().st_mtime


def describe(folder: Path, run: Run) -> str:
    """'runs/a (base tiny, alpaca, 60 steps, 2 minutes ago)', and the runs that were begun or went
    on later and have not finished."""
    facts = [f"base {run.options['model']}", run.options["template"]]
    if run.metrics:
        steps = run.metrics["steps"]
        facts.append(f"{steps:,} step{'s' * (steps > 1)}")
    facts.append(ago(time.time() - finished_at(folder)))
    line = f"{folder} ({', '.join(facts)})"
    later = [
        path for path in runs_with(PARTIAL)
        if not (path / RECORD).exists() and touched_at(path) > finished_at(folder)
    ]  # fmt: skip
    if later:
        names = ", ".join(map(str, sorted(later, key=touched_at)))
        line += f"; passed over, as not finished: {names}"
    return line


def touched_at(folder: Path) -> float:
    paths = folder / PARTIAL, folder / METRICS
    return max(path.stat().st_mtime for path in paths if path.exists())


def ago(seconds: float) -> str:
    """'2 minutes ago'"""
    for unit, size in UNITS.items():
        if count := int(seconds / size):
            return f"{count} {unit}{'s' * (count > 1)} ago"
    return "just now"
