"""The folder that an export is filled in, beside its place, until it is whole and right."""

import shutil
from contextlib import contextmanager
from pathlib import Path

from threetoe import run as runs
from threetoe import verify
from threetoe.errors import Failure
from threetoe.merge_plan import PLAN

PARTIAL, FAILED = ".partial", ".failed"  # behind a folder's name, until it is whole or right


def beside(path: Path, ending: str) -> Path:
    """The folder of that ending behind its name."""
    path = path.absolute()
    return path.with_name(path.name + ending)


@contextmanager
def taken(partial: Path, what: str):
    """A partial folder held by this process alone; what is not a merge's to go on with is gone."""
    partial.mkdir(parents=True, exist_ok=True)
    with runs.lock(partial, what, "export"):
        leave(partial, keep=(partial / PLAN).exists())
        partial.mkdir(exist_ok=True)
        yield


def leave(partial: Path, keep: bool) -> None:
    """Remove a partial folder, or with `keep` all that merge() does not go on with."""
    shards = [*partial.glob("*.safetensors"), *partial.glob("*.safetensors.index.json")]
    if not (keep and shards):
        return shutil.rmtree(partial, ignore_errors=True)
    for path in partial.iterdir():
        if path not in shards and path.name != PLAN and not path.name.endswith(".part"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def put(partial: Path, path: Path) -> None:
    """Give a folder that is whole its name."""
    (partial / PLAN).unlink(missing_ok=True)
    if path.is_dir():
        path.rmdir()  # empty, or check_target would have refused it
    partial.rename(path)


def fail(partial: Path, failed: Path, name: str, found: dict):
    """Put a folder that is wrong where nobody takes it for right; Failure says what is wrong."""
    shutil.rmtree(failed, ignore_errors=True)
    partial.rename(failed)
    raise Failure(
        f"The {name} export is wrong: {'; '.join(found['problems'])}. It is left in {failed} with "
        f"{verify.FILE}; nothing is pushed."
    )
