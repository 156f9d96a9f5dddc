"""Load plugins and order them.

Order: as named on the command line, then the asked run's, then installed packages, then the
built-in. A plugin is any module; its functions that bear a hook's name are its hooks, no decorator
needed.
"""

import importlib
import os
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path

from threetoe.errors import Checks, UserError, unknown
from threetoe.hooks import of_run, settings
from threetoe.hooks.calls import Hooks
from threetoe.hooks.module import import_plugin, import_point, load_checked
from threetoe.hooks.of_run import Recorded
from threetoe.hooks.plugin import BUILTIN, Plugin


def load_plugins(config, checks: Checks | None = None, run: Recorded | None = None) -> Hooks:
    """The hooks for one call: named plugins, those of a run, installed ones, and the built-in.

    With `checks`, what is wrong with a plugin goes there, and the hooks of the others come back.
    """
    gathered, notes = checks or Checks(), []
    if config.record:  # of train.py --config run.json
        path, entries = config.record
        run = Recorded(path.parent, entries, str(path))
    run = run and gathered(of_run.check_record, run)
    plugins = [gathered(load, *each) for each in named(config.plugin, gathered)]
    again = of_run.to_load(run, present(plugins), notes) if run else ()
    plugins += [gathered(load, *each) for each in again]
    taken = {*config.plugin, *(plugin.given for plugin in present(plugins))}
    plugins += [gathered(load, *each) for each in gathered(installed, taken) or ()]
    if run:
        of_run.take_up(run, present(plugins), notes)
    if config.record:  # without them it would be another training
        gathered.problems += notes
    hooks = Hooks([*present(plugins), builtin()], notes)
    if all(plugins):  # else what is asked of the missing ones would be reported, too
        settings.settle(hooks.plugins, config.settings, gathered)
    if checks is None:
        gathered.done()
    return hooks


def present(plugins: list) -> list[Plugin]:
    return [plugin for plugin in plugins if plugin]


def load(name: str, get_module, origin: str, given: str, distribution=None) -> Plugin:
    """A plugin whose module has been imported and checked; else a UserError that names it."""
    return Plugin(name, load_checked(name, get_module), origin, given, distribution)


def builtin() -> Plugin:
    return Plugin(BUILTIN, importlib.import_module(BUILTIN), "built-in", BUILTIN)


def named(plugins: tuple, checks: Checks):
    """What `load` takes, for each plugin of the command line."""
    seen = set()
    owners = {point.value: point.dist for point in entry_points(group="threetoe")}
    for name in plugins:
        same = Path(name).expanduser().resolve() if name.endswith(".py") else name
        if same in seen:
            checks.problems.append(f"Plugin {name} is named twice.")
        elif name != BUILTIN:
            yield name, partial(import_plugin, name), "named", name, owners.get(name)
        seen.add(same)


def installed(taken: set[str]) -> list[tuple]:
    """What `load` takes, for each plugin of installed packages that is not taken already.

    THREETOE_LOAD_PLUGINS chooses among them by the name of package or entry point; empty, none.
    """
    points = sorted(entry_points(group="threetoe"), key=lambda point: point.name)
    asked = os.environ.get("THREETOE_LOAD_PLUGINS")
    if asked is not None:
        names = {alike(name) for name in asked.split(",") if name.strip()}
        known = {alike(name): name for point in points for name in (point.name, point.dist.name)}
        for name in sorted(names - set(known)):
            problem = unknown("installed plugin", name, known.values())
            raise UserError(f"THREETOE_LOAD_PLUGINS: {problem}")
        points = [p for p in points if names & {alike(p.name), alike(p.dist.name)}]
    points = {point.value: point for point in points if point.value not in taken}
    return [
        (
            f"{value} (of {p.dist.name} {p.dist.version})",
            partial(import_point, p),
            "installed",
            value,
            p.dist,
        )
        for value, p in points.items()
    ]


def alike(name: str) -> str:
    """A package's name as all its spellings are the same."""
    return name.strip().lower().replace("_", "-")
