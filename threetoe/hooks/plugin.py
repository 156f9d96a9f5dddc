"""One plugin: what it is, where it is from, what calling it has cost, and who failed."""

import hashlib
import inspect
import traceback
from dataclasses import dataclass, field
from functools import cached_property
from importlib import metadata
from pathlib import Path
from time import perf_counter
from types import ModuleType

from threetoe.errors import Failure, PluginError, UserError, first_line
from threetoe.hooks import specs

BUILTIN = "threetoe.builtin"
HOOKS = tuple(name for name in vars(specs) if name.startswith(specs.PREFIXES))
OURS = Path(__file__).parents[1]  # the whole package
PASSED = (UserError, Failure, KeyboardInterrupt)  # have their words already


@dataclass(eq=False)
class Plugin:
    """A module whose hooks are called; `Hooks.plugins` lists them in the order of calling."""

    name: str  # what messages call it
    module: ModuleType
    origin: str  # named, run, installed or built-in
    given: str  # what --plugin takes
    installed: metadata.Distribution | None = None  # whose entry point it is
    settings: object = None  # an instance of the module's Settings
    of_run: dict = field(default_factory=dict)  # the settings that the asked run had for it
    seconds: float = 0.0  # spent in its hooks and in what it registered
    calls: int = 0
    sha256: str | None = None  # of the module's file as it was loaded
    label: str = ""  # in reports: the stem, or `given` where two plugins have the same stem

    def __post_init__(self):
        self.sha256 = hash_file(self.file) if self.file else None

    def __str__(self):
        return f"Plugin {self.name}"

    @property
    def is_builtin(self) -> bool:
        return self.name == BUILTIN

    @property
    def stem(self) -> str:
        """The short name: the file's stem, or the last part of the module's name."""
        is_file = self.given.endswith(".py")
        return Path(self.given).stem if is_file else self.module.__name__.rpartition(".")[2]

    @cached_property
    def hooks(self) -> tuple[str, ...]:
        """The names of its hooks, in the order of specs.py."""
        return tuple(name for name in HOOKS if is_hook(self.module, name))

    @property
    def file(self) -> Path | None:
        """The module's source file, absolute; None for a module that has none."""
        path = vars(self.module).get("__file__")
        return Path(path).resolve() if path and Path(path).is_file() else None

    @cached_property
    def package(self) -> tuple[str, str] | None:
        """(distribution, version) that a module is installed by; None for a file."""
        if self.given.endswith(".py"):
            return None
        if self.installed:
            return self.installed.name, self.installed.version
        top = self.module.__name__.partition(".")[0]
        found = metadata.packages_distributions().get(top)
        return (found[0], metadata.version(found[0])) if found else None

    def call(self, what: str, function, /, *args, lets: tuple = (), **named):
        """What a function of the plugin returns; the time is counted.

        An exception becomes a PluginError that names the plugin, `what`, the file and line.
        UserError, Failure and what `lets` names pass as they are, as all of the built-in's.
        """
        began = perf_counter()
        try:
            return function(*args, **named)
        except (*PASSED, *lets):
            raise
        except BaseException as error:  # strangers' code: sys.exit, and classes of their own
            if self.is_builtin:
                raise
            raise self.blame(what, function, error) from error
        finally:
            self.seconds += perf_counter() - began
            self.calls += 1

    def blame(self, what: str, function, error: BaseException) -> PluginError:
        """'Plugin a.py raised in map_reply (/home/me/a.py:3): KeyError: 'x''."""
        place = place_in(self.file, function, error)
        return PluginError(f"{self} raised in {what} ({place}): {describe(error)}")

    def refuse(self, what: str, fault: str, function) -> PluginError:
        """'Plugin a.py: map_reply returned int; return the reply, a str. (/home/me/a.py:3)'."""
        return PluginError(f"{self}: {what} {fault}. ({place_of(function)})")


def hash_file(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def is_hook(module: ModuleType, name: str) -> bool:
    """Whether the module itself defines a function of this name, which has a hook's prefix."""
    function = vars(module).get(name)  # not getattr: a module may have a __getattr__ of its own
    own = inspect.isfunction(function) and function.__module__ == module.__name__
    return own and name.startswith(specs.PREFIXES)


def own_settings(module: ModuleType):
    """The Settings that a module itself defines; None without."""
    found = vars(module).get("Settings")
    return found if getattr(found, "__module__", None) == module.__name__ else None


def place_of(function) -> str:
    """file:line where a function of a plugin is written."""
    function = inspect.unwrap(getattr(function, "func", function))  # partial's function
    code = getattr(function, "__code__", None) or getattr(type(function).__call__, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else repr(function)


def place_in(file: Path | None, function, error: BaseException) -> str:
    """The last line of a plugin's own file that an exception came through; where there is none,
    of any file that is not ours, and else the place of the function, if there is one."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "importlib" not in f.filename]
    own = [frame for frame in frames if file and Path(frame.filename).resolve() == file]
    others = [frame for frame in frames if OURS not in Path(frame.filename).parents]
    last = (own or others)[-1:]
    if last:
        return f"{last[0].filename}:{last[0].lineno}"
    return place_of(function) if function else ""


def find_culprit(plugins: list[Plugin], error: BaseException) -> Plugin | None:
    """The plugin through whose file an exception came last, the built-in apart."""
    files = {plugin.file: plugin for plugin in plugins if plugin.file and not plugin.is_builtin}
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if plugin := files.get(Path(frame.filename).resolve()):
            return plugin
    return None


def describe(error: BaseException) -> str:
    """An exception in one line: its type, and what it says."""
    said = first_line(error)
    return said if said == type(error).__name__ else f"{type(error).__name__}: {said}"
