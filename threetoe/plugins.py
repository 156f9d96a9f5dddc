"""Load plugins and order them.

Order: as named on the command line, then installed packages, then the built-in. A plugin is
any module; its functions that bear a hook's name are its hooks, no decorator needed.
"""

import importlib
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path

from threetoe.errors import Checks
from threetoe.hooks import Hooks
from threetoe.plugin import BUILTIN, Plugin
from threetoe.plugin_module import checked, import_plugin


def load_plugins(config, checks: Checks | None = None) -> Hooks:
    """The hooks for one call: named plugins, installed ones, and the built-in.

    With `checks`, what is wrong with a plugin goes there, and the hooks of the others come back.
    """
    gathered = checks or Checks()
    asked = [*named(config.plugin, gathered), *installed(config.plugin)]
    plugins = [gathered(load, *each) for each in asked]
    hooks = Hooks(config)
    hooks.add([plugin for plugin in plugins if plugin] + [builtin()])
    if checks is None:
        gathered.done()
    return hooks


def load(name: str, get_module, origin: str, given: str, distribution=None) -> Plugin:
    """A plugin whose module has been imported and checked; else a UserError that names it."""
    return Plugin(name, checked(name, get_module), origin, given, distribution)


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


def installed(plugins: tuple):
    """What `load` takes, for each plugin of installed packages; one that is named comes earlier."""
    for point in sorted(entry_points(group="threetoe"), key=lambda point: point.name):
        if point.value not in plugins:
            name = f"{point.value} (of {point.dist.name} {point.dist.version})"
            yield name, point.load, "installed", point.value, point.dist
