"""Names what a plugin did wrong: the plugin, where, its file and line, and what was said."""

import traceback
from pathlib import Path

from threetoe.errors import first_line
from threetoe.plugin import Plugin, place_of

OURS = Path(__file__).parent


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
    others = [frame for frame in frames if Path(frame.filename).parent != OURS]
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
