"""Calls the hooks of plugins by the rules of specs.py; names the plugin that raised."""

from contextlib import contextmanager
from functools import wraps
from time import perf_counter
from types import GeneratorType
from typing import Any, NamedTuple

import click
import pluggy

from threetoe.errors import Failure, PluginError, UserError
from threetoe.hooks import answers as plugin_rows
from threetoe.hooks import specs
from threetoe.hooks.answers import PASSED_OVER, problem_of
from threetoe.hooks.plugin import HOOKS, Plugin, culprit, is_hook, place_of, raised
from threetoe.machine.terminal import clear_line


class Call(NamedTuple):
    """One plugin's function of one hook."""

    plugin: Plugin
    function: Any
    names: tuple[str, ...]  # of the arguments that it takes


class Owned(NamedTuple):
    """What a plugin registered under a name."""

    value: Any
    plugin: Plugin


class Hooks(pluggy.PluginManager):
    """The hooks of one call of a script: `merge`, `first`, `chain` and `tell` follow the rules."""

    def __init__(self, config):
        super().__init__("threetoe")
        self.config = config
        self.plugins: list[Plugin] = []  # in the order in which they are called
        self.notes: list[str] = []  # on the run's plugins
        self.resolved: dict[str, list[Call]] = {}
        self.add_hookspecs(specs)
        for hook in HOOKS:  # any hook may take its plugin's settings
            getattr(self.hook, hook).spec.argnames += ("settings",)

    def add(self, plugins: list[Plugin]) -> None:
        """Take these plugins, whose hooks are then called in this order."""
        self.plugins = plugins
        stems = [plugin.stem for plugin in plugins]
        for plugin in plugins:
            plugin.label = plugin.stem if stems.count(plugin.stem) == 1 else plugin.given
        for plugin in reversed(plugins):  # pluggy calls first what came last
            self.register(plugin.module, plugin.name)

    def parse_hookimpl_opts(self, plugin, name):
        """A module's own functions named as hooks; pluggy asks this for every name in it."""
        return {} if is_hook(plugin, name) else None

    def calls_of(self, hook: str) -> list[Call]:
        """The functions of a hook in order, found once: map_messages is asked for every row."""
        if hook not in self.resolved:
            plugins = {plugin.name: plugin for plugin in self.plugins}
            found = reversed(getattr(self.hook, hook).get_hookimpls())
            calls = [as_call(plugins[impl.plugin_name], impl) for impl in found]
            self.resolved[hook] = [call for call in calls if not call.plugin.disabled]
        return self.resolved[hook]

    def has(self, hook: str) -> bool:
        """Whether any plugin has this hook."""
        return bool(self.calls_of(hook))

    def by_plugins(self, hook: str) -> bool:
        """Whether anyone but the built-in has this hook."""
        return any(not call.plugin.is_builtin for call in self.calls_of(hook))

    def answers(self, hook: str, **arguments):
        """(call, its answer) for each plugin with this hook, in order, one by one; answers that
        are None or wrong are left out."""
        known = {**arguments, "config": self.config}
        for call in self.calls_of(hook):
            given = [known[name] for name in call.names]
            streams = hook == "load_rows"
            answer = self.guarded_call(call.plugin, hook, call.function, *given, streams=streams)
            if answer is PASSED_OVER or answer is None:
                continue
            if not self.is_right(call, hook, answer):
                continue
            if hook == "load_rows" and not (call.plugin.is_builtin or isinstance(answer, list)):
                answer = plugin_rows.opened(self, call, answer)
            if answer is not None:
                yield call, answer

    def is_right(self, call: Call, hook: str, answer, value=None) -> bool:
        """Whether an answer is of the kind that the hook asks for; a wrong one is reported."""
        problem = None if call.plugin.is_builtin else problem_of(hook, answer, value)
        if problem:
            place = place_of(call.function)
            self.report(call.plugin, hook, f"{call.plugin}: {hook} {problem}. ({place})")
        return problem is None

    def owned(self, hook: str) -> dict[str, Owned]:
        """register_: the answers of all plugins in one dict, each with the plugin it is of."""
        found: dict[str, Owned] = {}
        where = {}
        for call, answer in self.answers(hook):
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

    def merge(self, hook: str) -> dict:
        """register_: the answers of all plugins in one dict."""
        return {name: owned.value for name, owned in self.owned(hook).items()}

    def first(self, hook: str, **arguments):
        """load_, build_: the first answer that is not None."""
        return next((answer for _, answer in self.answers(hook, **arguments)), None)

    def chain(self, hook: str, name: str, value, may_drop: bool = False, **arguments):
        """map_: the value after each plugin in turn, and who dropped it (None if nobody did)."""
        calls = self.calls_of(hook)
        known = {**arguments, "config": self.config} if calls else {}
        began = perf_counter()
        for call in calls:  # as guarded_call does, spelt out: rows are many
            known[name] = value
            try:
                answer = call.function(*[known[name] for name in call.names])
                answer = list(answer) if type(answer) is GeneratorType else answer
            except (Exception, SystemExit) as error:
                answer = self.passed_over(call.plugin, hook, call.function, error)
            ended = perf_counter()
            call.plugin.seconds += ended - began
            call.plugin.calls += 1
            began = ended
            if may_drop and answer is None:
                return None, call.plugin.name
            if answer is PASSED_OVER or (may_drop and answer is value):
                continue  # what is unchanged was checked
            if self.is_right(call, hook, answer, value):
                value = answer
        return value, None

    def tell(self, hook: str, **arguments) -> None:
        """after_: everyone is told; the answers are ignored."""
        for _ in self.answers(hook, **arguments):
            pass

    def guarded_call(
        self, plugin: Plugin, what: str, function, /, *args, at="", lets=(), streams=False, **named
    ):
        """What a plugin's function returns, its time counted; a generator's values as a list,
        unless it streams.

        An exception becomes a PluginError that names the plugin, `what` with `at` behind it, and
        the file and line; where --plugin-errors says to go on, it is told and PASSED_OVER comes
        back. UserError, Failure and what `lets` names pass as they are, as all of the built-in's.
        """
        if plugin.disabled:
            return PASSED_OVER
        began = perf_counter()
        try:
            try:
                answer = function(*args, **named)
                whole = type(answer) is GeneratorType and not streams
                return list(answer) if whole else answer
            finally:
                plugin.seconds += perf_counter() - began
                plugin.calls += 1
        except lets:
            raise
        except (Exception, SystemExit) as error:
            return self.passed_over(plugin, what, function, error, at)

    def passed_over(self, plugin: Plugin, what: str, function, error, at: str = ""):
        """PASSED_OVER for a call that raised, once it is reported; what is not the plugin's
        failure, or is not to be gone over, is raised."""
        if plugin.is_builtin or isinstance(error, (UserError, Failure)):
            raise error
        self.report(plugin, what, raised(plugin, what + at, function, error), error)
        return PASSED_OVER

    def report(self, plugin: Plugin, what: str, said: str, cause=None) -> None:
        """PluginError with what is `said`; or print it once and count it, by --plugin-errors."""
        if plugin.on_error == "stop":
            raise PluginError(said) from cause
        then = "its answer is left out; more of these are counted"
        if plugin.on_error == "disable":
            plugin.disabled, then = True, "it is not called any more"
            self.resolved.clear()
        if not plugin.failed[what]:
            clear_line()
            click.echo(f"{said} (--plugin-errors {plugin.on_error}: {then})", err=True)
        plugin.failed[what] += 1

    @contextmanager
    def named_failures(self, what: str):
        """An exception that came through a plugin's file becomes a PluginError that names it."""
        try:
            yield
        except (UserError, Failure):
            raise
        except Exception as error:
            plugin = culprit(self.plugins, error)
            if plugin is None:
                raise
            raise PluginError(raised(plugin, what, None, error)) from error

    def say_notes(self) -> None:
        """Print why plugins of the run are not used, a line each."""
        for note in self.notes:
            click.echo(note, err=True)

    def seconds(self) -> dict[str, float]:
        """The time spent in each plugin, the built-in apart."""
        return {plugin.label: round(plugin.seconds, 3) for plugin in self.theirs()}

    def theirs(self) -> list[Plugin]:
        return [plugin for plugin in self.plugins if not plugin.is_builtin]

    def say_seconds(self) -> None:
        """One line on standard error: the time spent in each plugin; none without plugins."""
        parts = []
        for plugin in self.theirs():
            calls = f"{plugin.calls}{'' if parts else ' call' if plugin.calls == 1 else ' calls'}"
            bad = sum(plugin.failed.values())
            parts.append(
                f"{plugin.label} {plugin.seconds:.2f} s in {calls}{f' ({bad} failed)' * bool(bad)}"
            )
        if parts:
            click.echo(f"plugins: {', '.join(parts)}", err=True)


def as_call(plugin: Plugin, impl) -> Call:
    """A plugin's implementation of a hook; one that takes its settings is given them here."""
    names, function = list(impl.argnames), impl.function
    if "settings" in names:
        place = names.index("settings")
        names.remove("settings")

        @wraps(function)
        def with_settings(*given):
            return impl.function(*given[:place], plugin.settings, *given[place:])

        function = with_settings
    return Call(plugin, function, tuple(names))
