"""The rows that a plugin's load_rows gives, taken one by one; what is wrong with one is blamed."""

from collections.abc import Iterator
from time import perf_counter

from threetoe.answers import problem_of_row
from threetoe.blame import raised
from threetoe.errors import Failure, PluginError, UserError
from threetoe.plugin import place_of

END = object()
PASSED_OVER = object()  # the answer of a call that raised, where --plugin-errors says to go on


def opened(hooks, call, answer):
    """The rows of an answer as a stream, its first row taken, so that --plugin-errors can still
    pass over an answer that fails at once; None then."""
    begun = hooks.guarded_call(call.plugin, "load_rows", begin, answer)
    if begun is PASSED_OVER:
        return None
    first, rows = begun
    if first is not END and not hooks.is_right(call, "load_rows", [first]):
        return None
    return followed(call, first, rows)


def begin(answer) -> tuple:
    """(the first row or END, the stream of the others)."""
    rows = iter(answer)
    return next(rows, END), rows


def followed(call, row, rows: Iterator) -> Iterator:
    """The rows from this one on. PluginError stops it: rows that were given cannot be taken back,
    whatever --plugin-errors says."""
    plugin = call.plugin
    while row is not END:
        problem = problem_of_row(row)
        if problem:
            place = place_of(call.function)
            raise PluginError(f"{plugin}: load_rows {problem}. ({place})")
        yield row
        began = perf_counter()
        try:
            row = next(rows, END)
        except (UserError, Failure):
            raise
        except (Exception, SystemExit) as error:
            raise PluginError(raised(plugin, "load_rows", call.function, error)) from error
        finally:
            plugin.seconds += perf_counter() - began
