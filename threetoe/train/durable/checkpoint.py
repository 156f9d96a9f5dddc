"""Checkpoints in a run folder: each is whole and proven by its manifest, or not there.

A checkpoint is filled beside its place. Its files are synced and hashed into manifest.json, which
is written last, and then the folder gets its name, checkpoint-STEP. A kill at any moment leaves
the ones before; one that is altered, or not whole, is never taken.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from threetoe.errors import Failure, UserError, first_line
from threetoe.machine.files import write_json
from threetoe.machine.space import disk_problems

MANIFEST, STAGED = "manifest.json", ".partial"
BESIDES = 20 * 10**6  # of a run: tokenizer, account, record (bytes)
NAME = re.compile(r"checkpoint-(\d+)")


class Checkpoint(NamedTuple):
    """A checkpoint that was proven whole."""

    folder: Path
    step: int
    facts: dict  # what the training was, and where it stood


def write(run: Path, step: int, facts: dict, fill: Callable[[Path], None]) -> Path:
    """The folder checkpoint-STEP in a run folder, its files made by `fill(folder)`."""
    target = run / f"checkpoint-{step}"
    staged = target.with_name(target.name + STAGED)
    shutil.rmtree(staged, ignore_errors=True)  # of a process that was killed
    staged.mkdir()
    fill(staged)
    files = {path.name: sha256(path, sync=True) for path in sorted(staged.iterdir())}
    listed = {"step": step, "files": files, "facts": facts}
    write_json(staged / MANIFEST, {"sha256": sha256_of(listed), **listed})
    sync(staged)
    shutil.rmtree(target, ignore_errors=True)  # one that was not whole
    staged.rename(target)
    sync(run)
    return target


def sha256(path: Path, sync: bool = False) -> str:
    """The hash of a file's bytes, which are on disk by then if `sync` asks for it."""
    with path.open("rb") as file:
        if sync:
            os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of(values: dict) -> str:
    """The hash of JSON values, in whatever order they were written."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def sync(folder: Path) -> None:
    """Wait until the names in a folder are on disk; a system that opens no folders keeps them."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except PermissionError:  # Windows
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read(folder: Path) -> tuple[Checkpoint | None, str]:
    """A checkpoint, or None and what is wrong with it."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if manifest.pop("sha256") != sha256_of(manifest):
            return None, f"{MANIFEST} was altered"
        for name, expected in manifest["files"].items():
            if sha256(folder / name) != expected:
                return None, f"{name} was altered"
        step, named = int(manifest["step"]), NAME.fullmatch(folder.name)
        if named and int(named[1]) != step:
            return None, f"it is of step {step}"
        return Checkpoint(folder, step, dict(manifest["facts"])), ""
    except FileNotFoundError as error:
        return None, f"{Path(error.filename).name} is missing"
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None, f"its {MANIFEST} cannot be read"


def found_in(run: Path) -> list[Path]:
    """The folders that are named as checkpoints are, the latest step first."""
    named = [path for path in run.glob("checkpoint-*") if NAME.fullmatch(path.name)]
    return sorted(named, key=lambda path: -int(NAME.fullmatch(path.name)[1]))


def newest(run: Path) -> tuple[Checkpoint | None, list[str]]:
    """The latest checkpoint that is whole, and a line for each later one that is not."""
    passed_over = []
    for folder in found_in(run):
        checkpoint, problem = read(folder)
        if checkpoint:
            return checkpoint, passed_over
        passed_over.append(f"{folder} is passed over: {problem}")
    return None, passed_over


def prune(run: Path, limit: int) -> None:
    """Remove all but the `limit` latest checkpoints, and what killed processes have left."""
    for folder in found_in(run)[limit:]:
        shutil.rmtree(folder, ignore_errors=True)
    prune_staged(run)


def prune_staged(run: Path) -> None:
    """Remove what there is of checkpoints that were not finished."""
    for folder in run.glob(f"checkpoint-*{STAGED}"):
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def writing(what: str, run: Path):
    """Turns a disk that is full, or gone, into a Failure that says what stays."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:  # torch.save raises a RuntimeError
        prune_staged(run)
        raise Failure(
            f"{what} cannot be written to {run}: {first_line(error)}. The checkpoints before it "
            "stay; make room, and run the same command again."
        ) from error


def check_room(model, run: Path, limit: int, keeps_best: bool = False) -> None:
    """UserError where the disk does not hold the run, its checkpoints and one that is written."""
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    copies = 3 + keeps_best  # an optimizer has two moments
    needed = BESIDES + 4 * trained * (1 + copies * (limit + 1))  # fp32
    mends = "name another disk, or keep fewer with --save-total-limit"
    if problems := disk_problems([(f"--output-dir {run}", run, needed, mends)]):
        raise UserError(*problems)
