"""Prepared data, kept by content: the same files, template and tokenizer are not read again."""

import hashlib
import json
import os
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path

from threetoe.quiet import CACHE

FOLDER = CACHE / "data"
LARGEST = 10 * 2**30  # bytes of all that is kept; the least recently used goes first


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
        os.utime(target)
        return Kept(target, False)
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
    make_room(target)
    return Kept(target, True)


def key_of(*parts) -> str:
    """A name for what follows from these JSON values, this code and this tokenizers library."""
    values = json.dumps([code(), version("tokenizers"), *parts], default=str)
    return hashlib.sha256(values.encode()).hexdigest()[:32]


def code() -> str:
    """A hash of all of Threetoe's own files: another version prepares anew."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def make_room(newest: Path) -> None:
    """Remove what was not used for longest until the rest is no larger than LARGEST."""
    found = sorted(FOLDER.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
    total = 0
    for path in found:
        total += sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        if total > LARGEST and path != newest:
            shutil.rmtree(path, ignore_errors=True)
