"""What goes to a terminal: lines, progress, and texts of others made harmless."""

import math
import os
import re
import sys
import time
from collections.abc import Callable
from unicodedata import east_asian_width

import click

from threetoe.machine.processes import is_first

# All of C0 but tab and line break, DEL, C1; and what turns the direction of the text around it.
CONTROLS = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")

PATIENCE, EVERY = 10, 30  # seconds
BAR = 24  # columns


def visible(text: str) -> str:
    """A text with its control characters spelt out, which a terminal would obey: \\x1b."""
    return CONTROLS.sub(spelt, text)


def spelt(control: re.Match) -> str:
    return control[0].encode("unicode_escape").decode()


class Progress:
    """How far a work is: on a terminal a bar that is written anew; elsewhere a line for each tenth
    of the way, or after EVERY seconds, once the work has taken `patience` seconds."""

    def __init__(self, first: int = 0, patience: float = PATIENCE):
        self.first, self.patience = first, patience  # done before
        self.began = self.said = time.monotonic()
        self.tenths = -1  # of the way, that have a line

    def show(self, done: int, total: int, words: str) -> None:
        spent = time.monotonic() - self.began
        words += f"  {clock(spent * (total - done) / max(done - self.first, 1))} left"
        if sys.stderr.isatty():
            draw_bar(done / total, words)
        elif self.is_due(done, total):
            say(words)

    def is_due(self, done: int, total: int) -> bool:
        """Whether a log gets a line now."""
        now, tenths = time.monotonic(), 10 * done // total
        if now - self.began < self.patience or (tenths == self.tenths and now - self.said <= EVERY):
            return False
        self.tenths, self.said = tenths, now
        return True


def bytes_done(what: str) -> Callable:
    """A function of (bytes done, bytes in all) that shows the progress."""
    progress = Progress()
    return lambda done, total: progress.show(
        done, max(total, 1), f"{what}  {shown(done)} of {shown(total)}"
    )


def draw_bar(share: float, words: str) -> None:
    """One line that is written anew, with a bar as long as the words leave room for, on a terminal;
    nothing elsewhere."""
    bar = min(BAR, columns() - width_of(words) - 2)
    filled = int(bar * share)
    show_progress("━" * filled + "─" * (bar - filled) + " " + words if bar > 3 else words)


def columns() -> int:
    """Of the terminal that standard error is; standard output may be a file."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except OSError:
        return 80


def width_of(text: str) -> int:
    """In columns: Chinese letters and their like take two."""
    return sum(1 + (east_asian_width(letter) in "WF") for letter in text)


def clock(seconds: float) -> str:
    """90 -> '1:30', 3700 -> '1:01:40'"""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


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
    """One line that is written anew, as much of it as one line holds; nothing when standard error
    is no terminal."""
    if sys.stderr.isatty() and is_first():
        text, room = visible(text), columns() - 1
        while width_of(text) > room:
            text = text[:-1]
        clear_line()
        sys.stderr.write(text)
        sys.stderr.flush()


def say(line: str) -> None:
    """One line on standard error, of several processes by the first."""
    if is_first():
        clear_line()  # of one of progress
        click.echo(visible(line), err=True)
