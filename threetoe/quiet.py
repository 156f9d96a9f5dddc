"""Keeps libraries quiet: statistics off, caches out of the current directory, chatter hidden.

Errors are never hidden. Imported before anything that reads the environment set here.
"""

import logging
import os
import sys
import warnings
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path

from threetoe.errors import Failure, UserError

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "threetoe")
NOISY = (
    "torch", "torchao", "bitsandbytes", "transformers", "peft", "trl", "unsloth", "unsloth_zoo",
    "unsloth_zoo.log", "unsloth.import_fixes",
)  # fmt: skip

os.environ["UNSLOTH_DISABLE_STATISTICS"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ.setdefault("UNSLOTH_COMPILE_LOCATION", str(CACHE / "compiled"))
os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")


def quieten() -> None:
    """Silence notices that a user cannot act on."""
    import torch  # noqa: F401  its import sets the log levels that are set here

    warnings.simplefilter("ignore")
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.ERROR)


def clear_line() -> None:
    """Take back an unfinished line of progress, where there may be one: on a terminal."""
    if sys.stderr.isatty():
        sys.stderr.write("\r\033[K")


@contextmanager
def chatter_hidden():
    """Hides what libraries print; when they fail, it is shown."""
    said = StringIO()
    try:
        with redirect_stdout(said):
            yield
    except (UserError, Failure):
        raise
    except Exception:
        sys.stderr.write(said.getvalue())
        raise
