"""Two plugins with every hook that change nothing and note their calls."""

import inspect
from itertools import groupby

from threetoe.hooks import specs
from threetoe.hooks.plugin import HOOKS

RECORDER = """\
import sys
from pathlib import Path

def _note(hook):
    with Path(__file__).with_name("calls.txt").open("a") as file:
        print(Path(sys.argv[0]).stem, hook, Path(__file__).name, file=file)
"""


def recorder():
    """The source of a plugin that has every hook, changes nothing and notes its calls."""
    functions = [RECORDER]
    for hook in HOOKS:
        first = next(iter(inspect.signature(getattr(specs, hook)).parameters))
        answer = {"map_": first, "register_": {}}.get(hook.partition("_")[0] + "_")
        functions.append(f"def {hook}({first}):\n    _note('{hook}')\n    return {answer}\n")
    return "\n".join(functions)


def write_recorders(folder):
    """Write a.py and b.py, which note in calls.txt beside them."""
    for name in ("a.py", "b.py"):
        (folder / name).write_text(recorder(), encoding="utf-8")


def in_order(folder):
    """The flags that name b before a."""
    return ["--plugin", folder / "b.py", "--plugin", folder / "a.py"]


def calls_in(path, script):
    """[(hook, plugins)] of what recorders noted; what is repeated at once stands there once."""
    notes = [line.split() for line in path.read_text().splitlines()]
    notes = [(hook, plugin) for name, hook, plugin in notes if name == script]
    groups = groupby(notes, key=lambda note: note[0])
    return [(hook, list(dict.fromkeys(plugin for _, plugin in notes))) for hook, notes in groups]
