"""A line of progress in bytes, on a terminal."""

import sys
from collections.abc import Callable

from threetoe.room import shown


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
