"""Load plugins and order them.

Order: as named on the command line, then installed packages, then the built-in. A plugin is
any module; its functions that bear a hook's name are its hooks, no decorator needed.
"""

import importlib
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path

from threetoe import settings
from threetoe.errors import Checks, UserError, unknown
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
    if all(plugins):  # else what is asked of the missing ones would be reported, too
        settings.settle(hooks.plugins, config.settings, gathered)
        gathered(settle_policies, hooks.theirs(), config.plugin_errors)
    if checks is None:
        gathered.done()
    return hooks


def load(name: str, get_module, origin: str, given: str, distribution=None) -> Plugin:
    """A plugin whose module has been imported and checked; else a UserError that names it."""
    return Plugin(name, checked(name, get_module), origin, given, distribution)


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


def installed(plugins: tuple):
    """What `load` takes, for each plugin of installed packages; one that is named comes earlier."""
    for point in sorted(entry_points(group="threetoe"), key=lambda point: point.name):
        if point.value not in plugins:
            name = f"{point.value} (of {point.dist.name} {point.dist.version})"
            yield name, point.load, "installed", point.value, point.dist
