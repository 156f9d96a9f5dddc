"""An exported adapter for the proof: the bytes of the run's weights, and its configuration."""

import hashlib
from pathlib import Path

from threetoe.backend.adapter import CONFIG, WEIGHTS, read_config
from threetoe.errors import UserError, first_line

PLACE = "base_model_name_or_path"  # may be another one for whoever loads the export


def problems(folder: Path, source: Path) -> list[str]:
    """A line for each file that says something else than the run's, which is in `source`."""
    try:
        theirs, ours = (sha256(place / WEIGHTS) for place in (folder, source))
        found = [f"the SHA-256 of its {WEIGHTS} is {theirs}, and the run's {ours}"]
        found *= theirs != ours
        theirs, ours = (read_config(place) | {PLACE: None} for place in (folder, source))
    except (OSError, UserError) as error:
        return [f"it cannot be read: {first_line(error)}"]
    names = sorted(name for name in theirs | ours if theirs.get(name) != ours.get(name))
    return found + [
        f"{name} in its {CONFIG} is {theirs.get(name)!r}, and the run's {ours.get(name)!r}"
        for name in names
    ]


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
