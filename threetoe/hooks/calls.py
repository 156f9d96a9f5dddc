"""Calls the hooks of plugins by the rules of specs.py; names the plugin that raised."""

import inspect
from contextlib import contextmanager
from typing import Any, NamedTuple

import pluggy

from threetoe.errors import Failure, PluginError, UserError
from threetoe.hooks import specs
from threetoe.hooks.answers import find_fault, follow
from threetoe.hooks.plugin import HOOKS, PASSED, Plugin, find_culprit, is_hook, place_of
from threetoe.machine.terminal import say


class Call(NamedTuple):
    """One plugin's function of one hook."""

    plugin: Plugin
    function: Any
    names: tuple[str, ...]  # of the arguments that it takes

    def ask(self, hook: str, known: dict):
        """What the function returns; it is given those of the `known` arguments that it takes."""
        known["settings"] = self.plugin.settings
        given = {name: known[name] for name in self.names}
        return self.plugin.call(hook, self.function, **given)

    def check(self, hook: str, answer, value=None) -> None:
        """PluginError when an answer is not of the kind that the hook asks for."""
        fault = None if self.plugin.is_builtin else find_fault(hook, answer, value)
        if fault:
            raise self.plugin.refuse(hook, fault, self.function)


class Owned(NamedTuple):
    """What a plugin registered under a name."""

    value: Any
    plugin: Plugin


class Hooks(pluggy.PluginManager):
    """The hooks of one call of a script: `merge`, `first`, `chain` and `tell` follow the rules.

    Each takes the hook's arguments by name, `config` among them.
    """

    def __init__(self, plugins: list[Plugin], notes: list[str]):
        super().__init__("threetoe")
        self.plugins = plugins  # in the order in which they are called
        self.notes = notes  # on the run's plugins
        self.late: list[str] = []  # what after_ hooks raised
        self.resolved: dict[str, list[Call]] = {}
        self.add_hookspecs(specs)
        for hook in HOOKS:  # any hook may take its plugin's settings
            getattr(self.hook, hook).spec.argnames += ("settings",)
        stems = [plugin.stem for plugin in plugins]
        for plugin in reversed(plugins):  # pluggy calls first what came last
            plugin.label = plugin.stem if stems.count(plugin.stem) == 1 else plugin.given
            self.register(plugin.module, plugin.name)

    def parse_hookimpl_opts(self, plugin, name):
        """A module's own functions named as hooks; pluggy asks this for every name in it."""
        return {} if is_hook(plugin, name) else None

    def calls_of(self, hook: str) -> list[Call]:
        """The functions of a hook in order, found once: map_messages is asked for every row."""
        if hook not in self.resolved:
            plugins = {plugin.name: plugin for plugin in self.plugins}
            found = reversed(getattr(self.hook, hook).get_hookimpls())
            self.resolved[hook] = [
                Call(plugins[impl.plugin_name], impl.function, names_of(impl.function))
                for impl in found
            ]
        return self.resolved[hook]

    def has(self, hook: str) -> bool:
        """Whether any plugin has this hook."""
        return bool(self.calls_of(hook))

    def by_plugins(self, hook: str) -> bool:
        """Whether anyone but the built-in has this hook."""
        return any(not call.plugin.is_builtin for call in self.calls_of(hook))

    def answers(self, hook: str, **known):
        """(call, its answer) for each plugin with this hook, in order, one by one; those that are
        None are left out."""
        for call in self.calls_of(hook):
            answer = call.ask(hook, known)
            if answer is not None:
                call.check(hook, answer)
                yield call, answer

    def owned(self, hook: str, **known) -> dict[str, Owned]:
        """register_: the answers of all plugins in one dict, each with the plugin it is of."""
        found: dict[str, Owned] = {}
        where = {}
        for call, answer in self.answers(hook, **known):
            plugin = call.plugin
            place = "" if plugin.is_builtin else f" ({place_of(call.function)})"
            for name, value in answer.items():
                if name in found:
                    raise UserError(
                        f"{hook}: '{name}' comes from both {where[name]} and {plugin.name}{place}; "
                        "rename one."
                    )
                found[name], where[name] = Owned(value, plugin), f"{plugin.name}{place}"
        return found

    def merge(self, hook: str, **known) -> dict:
        """register_: the answers of all plugins in one dict."""
        return {name: owned.value for name, owned in self.owned(hook, **known).items()}

    def first(self, hook: str, **known):
        """load_, build_: the first answer that is not None."""
        for call, answer in self.answers(hook, **known):
            streams = hook == "load_rows" and not call.plugin.is_builtin
            return follow(call, answer) if streams else answer
        return None

    def chain(self, hook: str, name: str, value, may_drop: bool = False, **known):
        """map_: the value after each plugin in turn, and who dropped it (None if nobody did)."""
        for call in self.calls_of(hook):
            known[name] = value
            answer = call.ask(hook, known)
            if may_drop and answer is None:
                return None, call.plugin.name
            if answer is not value or not may_drop:  # of many rows, what is unchanged was checked
                call.check(hook, answer, value)
            value = answer
        return value, None

    def tell(self, hook: str, **known) -> None:
        """after_: everyone is told; answers are ignored, and what is raised is kept for `end`."""
        for call in self.calls_of(hook):
            try:
                call.ask(hook, known)
            except (UserError, Failure) as error:
                self.late += error.problems

    def end(self) -> None:
        """The last word of a script: the time that was spent in each plugin, on standard error;
        PluginError when an after_ hook raised."""
        parts = [
            f"{p.label} {p.seconds:.2f} s in {p.calls} call{'s' * (p.calls != 1)}"
            for p in self.theirs()
        ]
        if parts:
            say(f"plugins: {', '.join(parts)}")
        if self.late:
            raise PluginError(*self.late)

    @contextmanager
    def name_culprit(self, what: str):
        """An exception that came through a plugin's file becomes a PluginError that names it."""
        try:
            yield
        except PASSED:
            raise
        except BaseException as error:
            plugin = find_culprit(self.plugins, error)
            if plugin is None:
                raise
            raise plugin.blame(what, None, error) from error

    def say_notes(self) -> None:
        """Print why plugins of the run are not used, a line each."""
        for note in self.notes:
            say(note)

    def seconds(self) -> dict[str, float]:
        """The time spent in each plugin, the built-in apart."""
        return {plugin.label: round(plugin.seconds, 3) for plugin in self.theirs()}

    def theirs(self) -> list[Plugin]:
        return [plugin for plugin in self.plugins if not plugin.is_builtin]


def names_of(function) -> tuple[str, ...]:
    return tuple(inspect.signature(function).parameters)
