"""What goes to a terminal: lines, progress, and texts of others made harmless."""

import math
import os
import re
import sys
from collections.abc import Callable

import click

# All of C0 but tab and line break, DEL, C1; and what turns the direction of the text around it.
CONTROLS = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    """A text with its control characters spelt out, which a terminal would obey: \\x1b."""
    return CONTROLS.sub(spelt, text)


def spelt(control: re.Match) -> str:
    return control[0].encode("unicode_escape").decode()


def bytes_done(what: str) -> Callable | None:
    """A function of (bytes done, bytes in all) that rewrites one line; None without a terminal."""
    if not sys.stderr.isatty():
        return None

    def show(done: int, total: int) -> None:
        filled = 24 * done // max(total, 1)
        bar = "━" * filled + "─" * (24 - filled)
        sys.stderr.write(f"\r\033[K{bar} {what}  {shown(done)} of {shown(total)}")
        sys.stderr.flush()

    return show


def in_colour() -> bool:
    """Whether standard output shows colours: a terminal, and NO_COLOR (no-color.org) is not set."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def clear_line() -> None:
    """Take back an unfinished line of progress, where there may be one: on a terminal."""
    if sys.stderr.isatty():
        sys.stderr.write("\r\033[K")


def shown(size: float) -> str:
    """16.1 GB, 310 MB"""
    return f"{size / 1e9:.1f} GB" if size >= 10**9 else f"{math.ceil(size / 1e6)} MB"


def show_progress(text: str) -> None:
    """One line that is written anew; nothing when standard error is no terminal."""
    if sys.stderr.isatty():
        clear_line()
        sys.stderr.write(visible(text))
        sys.stderr.flush()


def say(line: str) -> None:
    """One line on standard error."""
    click.echo(visible(line), err=True)
