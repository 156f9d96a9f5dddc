"""--set NAME=VALUE: typed settings that a plugin declares in a frozen dataclass `Settings`.

@dataclass(frozen=True)
class Settings:
    pattern: str = "@"
    limit: int = 3
"""

import inspect
from dataclasses import fields, is_dataclass
from typing import NamedTuple

import click

from threetoe.errors import Checks, UserError, did_you_mean
from threetoe.hooks.answers import kind
from threetoe.hooks.plugin import PASSED, Plugin, describe, own_settings
from threetoe.options.types import FiniteRange

TYPES = {"str": click.STRING, "int": click.INT, "float": FiniteRange(), "bool": click.BOOL}


class Setting(NamedTuple):
    """A field of a plugin's Settings."""

    plugin: Plugin
    name: str
    type: str  # a key of TYPES
    default: object

    @property
    def full_name(self) -> str:
        return f"{self.plugin.label}.{self.name}"

    def __str__(self):
        return f"{self.full_name} ({self.type}, {self.default!r} unless set)"


def declared(plugin: Plugin) -> list[Setting]:
    """The settings that a plugin declares; UserError names those that cannot be."""
    settings = own_settings(plugin.module)
    if settings is None:
        return []
    if not (isinstance(settings, type) and is_dataclass(settings)):
        raise UserError(f"{plugin}: Settings is {kind(settings)}, not a frozen dataclass.")
    place = place_of_class(settings)
    if not settings.__dataclass_params__.frozen:
        raise UserError(f"{plugin}: write @dataclass(frozen=True) above Settings. ({place})")
    problems, found = [], []
    for f in fields(settings):
        name = f.type if isinstance(f.type, str) else getattr(f.type, "__name__", str(f.type))
        if fault := find_fault(f, name):
            problems.append(f"{plugin}: Settings.{f.name} {fault}. ({place})")
        found.append(Setting(plugin, f.name, name, f.default))
    if problems:
        raise UserError(*problems)
    return found


def place_of_class(settings) -> str:
    return f"{inspect.getsourcefile(settings)}:{inspect.getsourcelines(settings)[1]}"


def find_fault(f, type_name: str) -> str | None:
    """What is wrong with a field; None when it is a text, a number or a truth value with a default
    of its type."""
    if type_name not in TYPES:
        return f"is {type_name}; a setting is one of {', '.join(TYPES)}"
    if type(f.default).__name__ == type_name or (type_name, type(f.default)) == ("float", int):
        return None
    return f"needs a default that is {type_name}, as in '{f.name}: {type_name} = ...'"


def settle(plugins: list[Plugin], pairs, checks: Checks) -> None:
    """Give every plugin its settings: those of the run it is of, then what `pairs` of --set say."""
    known = [setting for plugin in plugins for setting in checks(declared, plugin) or ()]
    values: dict[Plugin, dict] = {setting.plugin: {} for setting in known}
    for setting in known:
        if setting.name in setting.plugin.of_run:
            values[setting.plugin][setting.name] = setting.plugin.of_run[setting.name]
    for name, text in pairs:
        setting = checks(find, name, text, known, plugins)
        if setting:
            values[setting.plugin][setting.name] = checks(convert, setting, name, text)
    for plugin, given in values.items():
        plugin.settings = checks(make, plugin, given)


def find(name: str, text: str, known: list[Setting], plugins: list[Plugin]) -> Setting:
    """The one setting of this name, which may have its plugin's in front."""
    if not known:
        mine = ", ".join(p.label for p in plugins if not p.is_builtin)
        why = f"none of the plugins ({mine}) declares settings" if mine else "there is no plugin"
        raise UserError(f"--set {name}={text}: {why}; name the one that does with --plugin.")
    owner, _, short = name.rpartition(".")
    short = short.replace("-", "_")
    same = [s for s in known if s.name == short]
    found = [s for s in same if owner in ("", s.plugin.label, s.plugin.stem, s.plugin.given)]
    if len(found) == 1:
        return found[0]
    if found:
        names = " or ".join(f"--set {s.full_name}={text}" for s in found)
        raise UserError(
            f"--set {name}={text}: several plugins have a setting '{name}'; say {names}."
        )
    near = did_you_mean(name, [*(s.name for s in known), *(s.full_name for s in known)])
    raise UserError(
        f"--set {name}={text}: no plugin has a setting '{name}'.{near} "
        f"Settings: {', '.join(map(str, known))}."
    )


def convert(setting: Setting, name: str, text: str):
    """A setting's text as its type, as click reads it."""
    try:
        return TYPES[setting.type].convert(text, None, None)
    except click.BadParameter as error:
        raise UserError(f"--set {name}={text}: {setting}: {error.message}") from None


def make(plugin: Plugin, values: dict):
    """An instance of a plugin's Settings, whose own __post_init__ may refuse the values."""
    try:
        return plugin.module.Settings(**values)
    except PASSED:
        raise
    except BaseException as error:
        raise UserError(
            f"{plugin}: its Settings refuse {values or 'their defaults'}: {describe(error)} "
            f"({place_of_class(plugin.module.Settings)})"
        ) from error
