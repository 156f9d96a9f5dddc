"""Prepared data, kept by content: the same files, template and tokenizer are not read again."""

import errno
import hashlib
import json
import os
import shutil
import tempfile
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from time import time

from threetoe.errors import UserError
from threetoe.machine.libraries import CACHE

FOLDER = CACHE / "data"
LARGEST = 10 * 2**30  # bytes of all that is kept; the least recently used goes first
ABANDONED = 24 * 3600  # seconds: no process prepares rows for so long
NO_PLACE = (
    errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT,
    errno.ENOTDIR, errno.EEXIST,
)  # fmt: skip


class Kept:
    """A folder of prepared data; one that is not kept goes when this object does."""

    def __init__(self, path: Path, is_new: bool, scratch=None):
        self.path, self.is_new, self.scratch = path, is_new, scratch


def kept(key: str | None, make) -> Kept:
    """The folder that `make(folder)` fills, found again by its key; without one a temporary
    folder. A folder is there whole or not at all."""
    if key is None:
        scratch = tempfile.TemporaryDirectory(prefix="threetoe-")
        make(Path(scratch.name))
        return Kept(Path(scratch.name), True, scratch)
    target = FOLDER / key
    if target.is_dir():
        with suppress(OSError):  # a cache that others keep, and that may only be read
            os.utime(target)
        return Kept(target, False)
    try:
        make_whole(target, make)
    except OSError as error:
        if error.errno not in NO_PLACE:
            raise
        raise UserError(
            f"Prepared rows cannot be kept in {FOLDER}: {error.strerror}. --no-data-cache keeps "
            "none; XDG_CACHE_HOME names another place."
        ) from error
    make_room(target)
    return Kept(target, True)


def make_whole(target: Path, make) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    scratch = tempfile.mkdtemp(prefix=".", dir=FOLDER)
    try:
        make(Path(scratch))
        os.rename(scratch, target)
    except OSError:
        if not target.is_dir():  # or another process has made it meanwhile
            raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def key_of(*parts) -> str:
    """A name for what follows from these JSON values, this code and this tokenizers library."""
    values = json.dumps([code(), version("tokenizers"), *parts], default=str)
    return hashlib.sha256(values.encode()).hexdigest()[:32]


def code() -> str:
    """A hash of all of Threetoe's own files: another version prepares anew."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def make_room(newest: Path) -> None:
    """Remove what was not used for longest until the rest is no larger than LARGEST, and what
    killed processes have left."""
    total = 0
    for path in sorted(FOLDER.iterdir(), key=time_of, reverse=True):
        is_left = path.name.startswith(".") and time_of(path) < time() - ABANDONED
        total += sum(map(size_of, path.rglob("*")))
        if is_left or total > LARGEST and path != newest:
            shutil.rmtree(path, ignore_errors=True)


def time_of(path: Path) -> float:
    """When it was last used; 0 when another process has removed it meanwhile."""
    with suppress(FileNotFoundError):
        return path.stat().st_mtime
    return 0


def size_of(path: Path) -> int:
    with suppress(FileNotFoundError):
        return path.stat().st_size if path.is_file() else 0
    return 0
