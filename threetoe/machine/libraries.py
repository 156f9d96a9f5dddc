"""Keeps libraries quiet: statistics off, caches out of the current directory, chatter hidden.

Errors are never hidden. Imported before anything that reads the environment set here.
"""

import ctypes
import gc
import logging
import os
import sys
import warnings
from contextlib import contextmanager, nullcontext, redirect_stdout
from io import StringIO
from pathlib import Path

from threetoe.errors import Failure, UserError
from threetoe.machine.terminal import show_progress

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "threetoe")
NOISY = (
    "torch", "torchao", "bitsandbytes", "transformers", "peft", "trl", "unsloth", "unsloth_zoo",
    "unsloth_zoo.log", "unsloth.import_fixes",
)  # fmt: skip
os.environ["UNSLOTH_DISABLE_STATISTICS"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ.setdefault("UNSLOTH_COMPILE_LOCATION", str(CACHE / "compiled"))
os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
FIRST_WITH_CPU = "2026.10.9"
# What transformers imports where it is installed, for assisted generation and image detection.
UNUSED = ("scipy", "sklearn")


def quieten() -> None:
    """Silence notices that a user cannot act on."""
    import torch  # noqa: F401  its import sets the log levels that are set here

    warnings.simplefilter("ignore")
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.ERROR)


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


@contextmanager
def importing_fast():
    """Takes half the time from a heavy import: no garbage is looked for among modules, which stay,
    and on a CPU UNUSED seem not to be there while it lasts; a GPU's kernels take what they want."""
    hidden = {} if has_gpu() else dict.fromkeys(n for n in UNUSED if n not in sys.modules)
    was_on = gc.isenabled()
    gc.disable()
    sys.modules.update(hidden)
    try:
        yield
        gc.freeze()
    finally:
        for name in hidden:
            del sys.modules[name]
        if was_on:
            gc.enable()


def load_unsloth() -> None:
    """Import unsloth, quietly; UserError when it is missing or too old for this machine."""
    show_progress("importing Unsloth")
    fast = nullcontext() if "unsloth" in sys.modules else importing_fast()
    try:
        with chatter_hidden(), fast:
            quieten()
            import unsloth  # noqa: F401
        quieten()  # again: its import sets log levels of its own
    except ModuleNotFoundError as error:
        if error.name not in ("unsloth", "unsloth_zoo"):
            raise
        raise UserError(
            'Unsloth is not installed: pip install -e ".[gpu]" beside a CUDA torch, or '
            "pip install --no-deps -r requirements/cpu.txt on a CPU."
        ) from error
    except (NotImplementedError, RuntimeError) as error:
        if has_gpu():
            raise
        from importlib.metadata import version

        raise UserError(
            f"Unsloth {version('unsloth')} needs a GPU, and none is found: pip install --no-deps "
            f"unsloth=={FIRST_WITH_CPU} unsloth_zoo=={FIRST_WITH_CPU} runs on this CPU."
        ) from error


def has_gpu() -> bool:
    """Whether torch finds a GPU; where there is no driver of one, torch is not asked."""
    if sys.platform == "linux" and not has_driver():
        return False
    import torch

    return torch.cuda.is_available()


def has_driver() -> bool:
    """Whether the library that CUDA loads is there, or the device that ROCm opens."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return Path("/dev/kfd").exists()
    return True
