"""Bounds on time and memory for what strangers wrote and a library runs: patterns, Jinja."""

import signal
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

from threetoe.errors import UserError

SECONDS = 1
ROOM = 10**9  # bytes


class OutOfTimeError(BaseException):
    """Not an Exception: a library that handles all of those would go on."""


@contextmanager
def bounded(what: str):
    """UserError when the work takes more than SECONDS, or on Linux more than ROOM of memory.

    Time is kept by SIGALRM, so where a system has none, and in other threads than the main one, it
    is not.
    """
    timed = threading.current_thread() is threading.main_thread() and hasattr(signal, "setitimer")
    before = limit_memory() if sys.platform == "linux" else None
    if timed:
        handler = signal.signal(signal.SIGALRM, stop)
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    except OutOfTimeError:
        raise UserError(f"{what} takes more than {SECONDS} second.") from None
    except MemoryError:
        raise UserError(f"{what} takes more than {ROOM // 10**9} GB of memory.") from None
    finally:
        if timed:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, handler)
        if before:
            set_memory(before)


def stop(number, frame):
    raise OutOfTimeError


def limit_memory() -> tuple[int, int]:
    """Let this process have ROOM more than it has; the limits that it had before."""
    import resource

    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    allowed = used + ROOM
    if soft == resource.RLIM_INFINITY or allowed < soft:
        set_memory((allowed, hard))
    return soft, hard


def set_memory(limits: tuple[int, int]) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_AS, limits)
