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
from threetoe.hooks import of_run as run_plugins
from threetoe.hooks import settings
from threetoe.hooks.calls import Hooks
from threetoe.hooks.module import checked, import_plugin, load_point
from threetoe.hooks.of_run import Recorded
from threetoe.hooks.plugin import BUILTIN, Plugin


def load_plugins(config, checks: Checks | None = None, run: Recorded | None = None) -> Hooks:
    """The hooks for one call: named plugins, those of a run, installed ones, and the built-in.

    With `checks`, what is wrong with a plugin goes there, and the hooks of the others come back.
    """
    gathered, hooks = checks or Checks(), Hooks(config)
    plugins = [gathered(load, *each) for each in named(config.plugin, gathered)]
    of_run = run_plugins.to_load(run, present(plugins), hooks.notes) if run else ()
    plugins += [gathered(load, *each) for each in of_run]
    taken = {*config.plugin, *(plugin.given for plugin in present(plugins))}
    plugins += [gathered(load, *each) for each in gathered(installed, taken) or ()]
    if run:
        run_plugins.take_up(run, present(plugins), hooks.notes)
    hooks.add([*present(plugins), builtin()])
    if all(plugins):  # else what is asked of the missing ones would be reported, too
        settings.settle(hooks.plugins, config.settings, gathered)
        gathered(settle_policies, hooks.theirs(), config.plugin_errors)
    if checks is None:
        gathered.done()
    return hooks


def present(plugins: list) -> list[Plugin]:
    return [plugin for plugin in plugins if plugin]


def load(name: str, get_module, origin: str, given: str, distribution=None) -> Plugin:
    """A plugin whose module has been imported and checked; else a UserError that names it."""
    try:
        return Plugin(name, checked(name, get_module), origin, given, distribution)
    except UserError as error:
        if origin != "run":
            raise
        without = "--no-run-plugins leaves it out."
        raise UserError(*(f"{problem} {without}" for problem in error.problems)) from error


def builtin() -> Plugin:
    return Plugin(BUILTIN, importlib.import_module(BUILTIN), "built-in", BUILTIN)


def settle_policies(plugins: list[Plugin], policies: tuple) -> None:
    """Give every plugin what --plugin-errors says of it, or else of all."""
    known = {name for plugin in plugins for name in (plugin.stem, plugin.given)}
    for name, policy in sorted(policies, key=lambda pair: pair[0] != ""):  # those for all first
        if name and name not in known:
            labels = [plugin.label for plugin in plugins]
            raise UserError(f"--plugin-errors {name}={policy}: {unknown('plugin', name, labels)}")
        for plugin in plugins:
            if name in ("", plugin.stem, plugin.given):
                plugin.on_error = policy


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
            partial(load_point, p),
            "installed",
            value,
            p.dist,
        )
        for value, p in points.items()
    ]


def alike(name: str) -> str:
    """A package's name as all its spellings are the same."""
    return name.strip().lower().replace("_", "-")
