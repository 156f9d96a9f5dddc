"""One plugin: what it is, where it is from, what calling it has cost."""

import hashlib
import inspect
import traceback
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from importlib import metadata
from pathlib import Path
from types import ModuleType

from threetoe.errors import first_line
from threetoe.hooks import specs as hookspecs

BUILTIN = "threetoe.builtin"
HOOKS = tuple(name for name in vars(hookspecs) if name.startswith(hookspecs.PREFIXES))
OURS = Path(__file__).parents[1]  # the whole package


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
    on_error: str = "stop"  # or warn, or disable
    disabled: bool = False
    seconds: float = 0.0  # spent in its hooks and in what it registered
    calls: int = 0
    failed: Counter = field(default_factory=Counter)  # what raised -> how often
    sha256: str | None = None  # of the module's file as it was loaded
    label: str = ""  # in reports: the stem, or `given` where two plugins have the same stem

    def __post_init__(self):
        self.sha256 = hash_of(self.file) if self.file else None

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

    @property
    def hooks(self) -> tuple[str, ...]:
        """The names of its hooks, in the order of specs.py."""
        return tuple(name for name in HOOKS if is_hook(self.module, name))

    @property
    def file(self) -> Path | None:
        """The module's source file, absolute; None for a module that has none."""
        path = getattr(self.module, "__file__", None)
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


def hash_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def is_hook(module: ModuleType, name: str) -> bool:
    """Whether the module itself defines a function of this name, which has a hook's prefix."""
    function = getattr(module, name, None)
    own = inspect.isfunction(function) and function.__module__ == module.__name__
    return own and name.startswith(hookspecs.PREFIXES)


def own_settings(module: ModuleType):
    """The Settings that a module itself defines; None without."""
    found = getattr(module, "Settings", None)
    return found if getattr(found, "__module__", None) == module.__name__ else None


def place_of(function) -> str:
    """file:line where a function of a plugin is written."""
    function = inspect.unwrap(getattr(function, "func", function))  # partial's function
    code = getattr(function, "__code__", None) or getattr(type(function).__call__, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else repr(function)


def raised(plugin: Plugin, what: str, function, error: BaseException) -> str:
    """'Plugin a.py raised in map_reply (/home/me/a.py:3): KeyError: 'x''."""
    return f"Plugin {plugin.name} raised in {what} ({line_of(plugin, function, error)}): " + (
        described(error)
    )


def line_of(plugin: Plugin, function, error: BaseException) -> str:
    return line_in(plugin.file, function, error)


def line_in(file: Path | None, function, error: BaseException) -> str:
    """The last line of a plugin's own file that an exception came through; where there is none,
    of any file that is not ours, and else the place of the function."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if file and Path(frame.filename).resolve() == file.resolve()]
    others = [frame for frame in frames if OURS not in Path(frame.filename).parents]
    last = (own or others)[-1:]
    return f"{last[0].filename}:{last[0].lineno}" if last else place_of(function)


def is_of(plugin: Plugin, filename: str) -> bool:
    return plugin.file is not None and Path(filename).resolve() == plugin.file


def culprit(plugins: list[Plugin], error: BaseException) -> Plugin | None:
    """The plugin through whose file an exception came last, the built-in apart."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        for plugin in plugins:
            if not plugin.is_builtin and is_of(plugin, frame.filename):
                return plugin
    return None


def described(error: BaseException) -> str:
    """An exception in one line: its type, and what it says."""
    said = first_line(error)
    return said if said == type(error).__name__ else f"{type(error).__name__}: {said}"
