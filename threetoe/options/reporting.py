"""How a script ends: what went wrong in lines on standard error, and the exit code."""

import errno
import os
import signal
import sys
import threading
from contextlib import contextmanager
from io import TextIOWrapper

import click

from threetoe.errors import Failure, UserError, without_tokens
from threetoe.machine.processes import is_first_of_machine
from threetoe.machine.terminal import clear_line, visible

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS)
NO_PATH = (errno.ENAMETOOLONG, errno.ENOTDIR, errno.ELOOP)
LONGEST = 2000  # characters of a problem


def run_reporting_errors(function, config) -> None:
    """Call `function(config)`; a user's mistake exits with 2, a failure that is named with 1."""
    if isinstance(sys.stdout, TextIOWrapper):  # a terminal may lack characters of an answer
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with terminable():
            function(config)
    except UserError as error:
        fail(error.problems, 2)
    except Failure as error:
        fail(error.problems, error.code)
    except OSError as error:
        if error.errno in NO_PATH:
            fail([f"{error.strerror}: {error.filename}"], 2)
        if error.errno not in NO_ROOM:
            raise
        fail([f"{error.strerror}: {error.filename or 'the output'}. What was saved stays."], 1)
    except KeyboardInterrupt as error:
        code = 128 + (signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT)
        fail(["Stopped."], code)  # what was saved has been said


class Terminated(KeyboardInterrupt):
    """SIGTERM came: temporary folders are removed on the way out, as after Ctrl-C."""


@contextmanager
def terminable():
    """Raises Terminated when SIGTERM comes, where nobody has decided otherwise."""

    def terminate(number, frame):
        raise Terminated

    in_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    if not in_main or before is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def fail(problems: list[str], code: int) -> None:
    """End with the code; of several processes, one of each machine says what all have found."""
    if code != 1 and not is_first_of_machine():
        raise SystemExit(code)
    clear_line()
    colour = False if os.environ.get("NO_COLOR") else None  # no-color.org; None: on a terminal
    for problem in map(without_tokens, problems):
        line = visible(shorten(problem))
        click.echo(f"{click.style('Error:', fg='red')} {line}", err=True, color=colour)
    raise SystemExit(code)


def shorten(text: str) -> str:
    """A problem that repeats what a user gave, without its middle where that was very long."""
    left_out = len(text) - LONGEST
    if left_out <= 0:
        return text
    return f"{text[: LONGEST // 2]} ... {left_out:,} characters ... {text[-LONGEST // 2 :]}"
