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


def lines_of(path: Path) -> dict[tuple, int]:
    """Where the keys of a YAML mapping stand: {(key,) or (key, key below): line}.

    UserError when a key stands twice, of which YAML would silently take the second.
    """
    import yaml

    lines: dict[tuple, int] = {}

    def walk(node, above=()):
        for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
            place, line = (*above, str(key.value)), key.start_mark.line + 1
            if place in lines:
                raise UserError(
                    f"{path}:{line}: '{key.value}' stands in line {lines[place]} too; keep one."
                )
            lines[place] = line
            walk(value, place)

    walk(yaml.compose(path.read_text(encoding="utf-8")))
    return lines
