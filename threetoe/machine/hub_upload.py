"""An upload to the Hub: what passes by is waited for, the client quiet, tokens hidden."""

import sys
import time
from collections.abc import Callable
from contextlib import contextmanager

from threetoe.errors import Failure
from threetoe.machine.hub import answers_within, one_line
from threetoe.machine.terminal import say

READ_SECONDS = 90  # without a byte; an upload as a whole may take hours
RETRY_SECONDS = (3, 15)  # before the second and the third try
LONGEST_WAIT = 300  # seconds that a Retry-After is obeyed for
PASSING = (409, 412, 429)  # another commit came first, or too many requests: nothing was done


class PushError(Failure):
    """A push that failed after its checks; the message names the step and holds no token."""


@contextmanager
def quiet_client():
    """No warnings of the client, which show signed URLs, no bars where there is no terminal, and no
    request that waits for more than READ_SECONDS."""
    from huggingface_hub.utils import disable_progress_bars, logging

    if not sys.stderr.isatty():
        disable_progress_bars()
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with answers_within(READ_SECONDS):
            yield
    finally:
        logging.set_verbosity(before)


def patiently(send: Callable, once: bool = False):
    """What `send()` returns. What passes by is waited for, twice; with `once`, where a second try
    might do it twice, only after what surely did nothing."""
    import httpx
    from huggingface_hub.errors import HfHubHTTPError

    for seconds in (*RETRY_SECONDS, None):
        try:
            with answers_within(READ_SECONDS):  # the client may be a new one
                return send()
        except HfHubHTTPError as error:
            status = error.response.status_code
            again = status in PASSING or (status >= 500 and not once)
            said, asked = f"the Hub answers {status}", error.response.headers.get("Retry-After", "")
            seconds = seconds and int(asked) if asked.isdigit() else seconds
            if seconds is None or not again or seconds > LONGEST_WAIT:
                raise
        except httpx.TransportError as error:
            said = f"the Hub cannot be reached ({type(error).__name__})"
            if seconds is None or once or isinstance(error, httpx.TimeoutException):
                raise
        say(f"{said}; trying again in {seconds} s")
        time.sleep(seconds)


@contextmanager
def failing_as(step: str, token: str | None):
    """Turns what the client raises into a PushError that names the step and hides the token."""
    import httpx

    try:
        yield
    # huggingface_hub lets through all four: its own HTTP errors, files that cannot be read, an
    # upload thread's RuntimeError, and ValueError for malformed answers and metadata.
    except (httpx.HTTPError, OSError, RuntimeError, ValueError) as error:
        reason = one_line(error, token) or type(error).__name__
        if isinstance(error, RuntimeError) and error.__cause__:
            reason += f" {one_line(error.__cause__, token)}"
        # The library's own traceback would show the token again: `from None`.
        raise PushError(f"{step} failed: {reason}") from None
