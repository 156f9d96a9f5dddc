"""Calls the hooks of plugins by the rules of hookspecs.py; names the plugin that raised."""

import inspect
import traceback

import pluggy

from threetoe import hookspecs
from threetoe.errors import PluginError, UserError, first_line
from threetoe.plugin import BUILTIN, Plugin, is_hook, place_of


class Hooks(pluggy.PluginManager):
    """The hooks of one call of a script: `merge`, `first`, `chain` and `tell` follow the rules."""

    def __init__(self, config):
        super().__init__("threetoe")
        self.config = config
        self.plugins: list[Plugin] = []  # in the order in which they are called
        self.add_hookspecs(hookspecs)

    def add(self, plugins: list[Plugin]) -> None:
        """Take these plugins, whose hooks are then called in this order."""
        self.plugins = plugins
        for plugin in reversed(plugins):  # pluggy calls first what came last
            self.register(plugin.module, plugin.name)

    def parse_hookimpl_opts(self, plugin, name):
        """A module's own functions named as hooks; pluggy asks this for every name in it."""
        return {} if is_hook(plugin, name) else None

    def calls(self, hook: str, **arguments):
        """(plugin name, its answer) for each plugin with this hook, in order, one by one."""
        arguments["config"] = self.config
        for impl in reversed(getattr(self.hook, hook).get_hookimpls()):
            chosen = {name: arguments[name] for name in impl.argnames}
            yield impl.plugin_name, guarded(impl, hook, chosen)

    def has(self, hook: str) -> bool:
        """Whether any plugin has this hook."""
        return bool(getattr(self.hook, hook).get_hookimpls())

    def merge(self, hook: str) -> dict:
        """register_: the answers of all plugins in one dict."""
        merged, owner = {}, {}
        for plugin, answer in self.calls(hook):
            if not isinstance(answer, (dict, type(None))):
                raise PluginError(f"Plugin {plugin}: {hook} returned {kind(answer)}, not a dict.")
            for name, value in (answer or {}).items():
                if name in merged:
                    raise UserError(
                        f"{hook}: '{name}' comes from both {owner[name]} and {plugin}; rename one."
                    )
                merged[name], owner[name] = value, plugin
        return merged

    def first(self, hook: str, **arguments):
        """load_, build_: the first answer that is not None."""
        answers = (answer for _, answer in self.calls(hook, **arguments) if answer is not None)
        return next(answers, None)

    def chain(self, hook: str, name: str, value, may_drop: bool = False, **arguments):
        """map_: the value after each plugin in turn, and who dropped it (None if nobody did)."""
        for impl in reversed(getattr(self.hook, hook).get_hookimpls()):
            known = {**arguments, name: value, "config": self.config}
            answer = guarded(impl, hook, {n: known[n] for n in impl.argnames})
            if answer is None and may_drop:
                return None, impl.plugin_name
            plain = isinstance(value, (str, list, dict))  # a model may come back wrapped
            if answer is None or (plain and not isinstance(answer, type(value))):
                raise PluginError(
                    f"Plugin {impl.plugin_name}: {hook} returned {kind(answer)}; return the {name}"
                    f"{f', a {kind(value)}' if plain else ''}. ({place_of(impl.function)})"
                )
            value = answer
        return value, None

    def tell(self, hook: str, **arguments) -> None:
        """after_: everyone is told; the answers are ignored."""
        for _ in self.calls(hook, **arguments):
            pass


def guarded(impl, hook: str, arguments: dict):
    """What a plugin's hook returns; an exception in it names the plugin, file and line."""
    try:
        answer = impl.function(**arguments)
        return list(answer) if inspect.isgenerator(answer) else answer
    except (UserError, PluginError):
        raise
    except Exception as error:
        if impl.plugin_name == BUILTIN:
            raise
        what = f"Plugin {impl.plugin_name} raised in {hook}"
        raise failure(what, impl.function, error) from error


def failure(what: str, function, error: Exception) -> PluginError:
    """`what` failed, with the last line of the function's own file that the error came through."""
    frames = traceback.extract_tb(error.__traceback__)
    own = inspect.getsourcefile(function)
    last = ([f for f in frames if f.filename == own] or frames)[-1]
    return PluginError(f"{what} ({last.filename}:{last.lineno}): {described(error)}")


def described(error: BaseException) -> str:
    """An exception in one line: its type, and what it says."""
    said = first_line(error)
    return said if said == type(error).__name__ else f"{type(error).__name__}: {said}"


def kind(value) -> str:
    return type(value).__name__
