"""Finds what ships with the package: templates, datasets and the embedded model."""

import json
from pathlib import Path

from threetoe.errors import UserError, first_line, reading


def folder(kind: str) -> Path:
    """The folder named `kind`: inside the installed package, or beside it in a clone."""
    package = Path(__file__).resolve().parent
    return package / kind if (package / kind).is_dir() else package.parent / kind


def named_files(kind: str) -> dict[str, Path]:
    """{name: file} of the YAML files of a kind; names are file stems."""
    return {path.stem: path for path in sorted(folder(kind).glob("*.yaml"))}


def read_yaml(path: Path):
    """What a YAML or JSON file holds; UserError with file and line when it is not YAML."""
    import yaml

    with reading(path):
        text = path.read_text(encoding="utf-8")
    try:
        return json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: 2024-13-01
        mark = getattr(error, "problem_mark", None)
        place = f"{path}:{mark.line + 1}" if mark else path
        problem = getattr(error, "problem", None) or first_line(error)
        raise UserError(f"{place}: not YAML: {problem}.") from error
