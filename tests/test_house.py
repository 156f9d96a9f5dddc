"""The house keeps its plan: who imports whom, how large a room may be, how rooms are called."""

import ast
import configparser
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOUSE = ROOT / "threetoe"
MAP = """errors messages machine options hooks data prompt backend run train infer export commands
api builtin entry_points testing __main__""".split()  # an import goes from right to left
NEVER = {  # beside what stands further right
    "machine": "messages",
    "options": "torch messages",
    "prompt": "torch hooks data",
    "backend": "hooks data",
    "run": "data",
    "infer": "train",
    "export": "train infer",
    "export.merge": "export.verify export.gguf export.card export.export",
    "export.verify": "export.gguf export.card export.export",
    "export.gguf": "export.card export.export",
    "export.card": "export.merge export.gguf export.export",
}


def name_of(path):
    """threetoe/data/read.py -> data.read, threetoe/data/__init__.py -> data"""
    parts = path.relative_to(HOUSE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


FILES = {name_of(path): path.read_text(encoding="utf-8") for path in HOUSE.rglob("*.py")}
TREES = {name: ast.parse(text) for name, text in sorted(FILES.items()) if name}
WINGS = {name_of(path) for path in HOUSE.rglob("*/__init__.py")}


def imports_of(tree):
    """The modules that are imported at the top or in a function; ours without threetoe before."""
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in (name.removeprefix("threetoe.") for name in names):
            yield name if name in TREES or isinstance(node, ast.Import) else name.rpartition(".")[0]


IMPORTS = {name: set(imports_of(tree)) for name, tree in TREES.items()}
ARROWS = sorted((name, other) for name, found in IMPORTS.items() for other in found)


def is_in(name, wings):
    return any(f"{name}.".startswith(f"{wing}.") for wing in wings.split())


def test_no_import_climbs_the_map_or_goes_in_a_circle():
    ours = {name: found & TREES.keys() for name, found in IMPORTS.items()}
    level = {name: MAP.index(name.split(".")[0]) for name in ours}
    assert [(a, b) for a, found in ours.items() for b in found if level[b] > level[a]] == []
    TopologicalSorter(ours).prepare()


def test_no_wing_imports_what_its_charter_forbids():
    for wing, forbidden in NEVER.items():
        assert [(a, b) for a, b in ARROWS if is_in(a, wing) and is_in(b, forbidden)] == []


def test_some_rooms_have_few_visitors():
    def visitors(room):
        return {name for name, other in ARROWS if is_in(other, room) and not is_in(name, room)}

    assert visitors("builtin") == set()
    assert visitors("commands") == {"__main__"}
    assert {"machine.libraries"} == {
        name for name in visitors("unsloth") if not is_in(name, "backend")
    }


def test_rooms_are_small_enough_to_be_read():
    assert [name for name, text in FILES.items() if text.count("\n") > 250] == []
    nodes = [(name, node) for name, tree in TREES.items() for node in ast.walk(tree)]
    functions = [(name, n) for name, n in nodes if isinstance(n, ast.FunctionDef)]
    long = [(name, n.name) for name, n in functions if n.end_lineno - n.lineno >= 40]
    assert long == []


def test_a_wing_shows_at_most_fifteen_things_and_the_house_eighteen():
    for folder in [HOUSE, *(HOUSE.joinpath(*wing.split(".")) for wing in WINGS)]:
        things = [
            path for path in folder.iterdir() if not path.name.startswith("__") or path.suffix
        ]
        assert len(things) - 1 <= (18 if folder == HOUSE else 15), things  # __init__.py is no room


def test_a_wing_opens_with_its_charter_alone_is_in_the_wheel_and_has_a_name_of_its_own():
    for wing in WINGS:
        (charter,) = TREES[wing].body
        assert charter.value.value == ast.get_docstring(TREES[wing], clean=False)
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    data = {"templates", "datasets", "models", "examples", "scripts"}  # of the wheel, without code
    named = {package.partition(".")[2] for package in setup["options"]["packages"].split()}
    assert named == WINGS | data | {""}
    assert [name for name in TREES if "utils" in name.split(".")] == []
