"""A copy of each checkpoint in another folder, such as a mounted Drive, made while the training
goes on: what is needed to continue on another machine.

Drives promise no renaming of folders, so files come first and the manifest last: a copy without it
is not whole, and is never taken. A copy that fails is said once, and stops no training.
"""

import os
import shutil
import threading
from pathlib import Path

from threetoe.errors import UserError
from threetoe.machine.files import check_writable
from threetoe.machine.terminal import clear_line, say
from threetoe.run.record import RECORD
from threetoe.train.durable import checkpoint
from threetoe.train.durable.checkpoint import MANIFEST

LINKED = ".mirrored"  # behind the name of a checkpoint that is being copied


def place_of(mirror: Path, run: Path) -> Path:
    """Where the checkpoints of a run lie in a mirror."""
    return mirror / run.resolve().name


def check_mirror(mirror: Path, run: Path, overwrite: bool) -> None:
    """UserError unless this run may be mirrored there."""
    place = place_of(mirror, run)
    if place.resolve() == run.resolve():
        raise UserError(f"--mirror {mirror} is where the run is written; name another folder.")
    if (place / RECORD).exists() and not overwrite:
        raise UserError(
            f"--mirror {mirror} already holds a finished run {place.name}; name another "
            "--output-dir or --mirror, or replace it with --overwrite."
        )
    check_writable(place, "--mirror")


class Mirror:
    """Copies in a thread; of several checkpoints that wait, the latest."""

    def __init__(self, mirror: Path, run: Path, limit: int):
        self.run, self.place, self.limit = run, place_of(mirror, run), limit
        self.thread: threading.Thread | None = None
        self.failed = False
        for left in run.glob(f"*{LINKED}"):  # of a process that was killed
            shutil.rmtree(left, ignore_errors=True)

    def copy(self, folder: Path) -> None:
        """Begin to copy a checkpoint; one that is being copied is waited for at the next."""
        if self.thread and self.thread.is_alive():
            return  # the next one will do
        linked = folder.with_name(folder.name + LINKED)  # it stays, whatever is removed meanwhile
        shutil.copytree(folder, linked, copy_function=link)
        self.thread = threading.Thread(target=self.guarded, args=(self.put, linked, folder.name))
        self.thread.start()

    def put(self, linked: Path, name: str) -> None:
        target = self.place / name
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        files = [path for path in linked.iterdir() if path.name != MANIFEST]
        for path in [*files, linked / MANIFEST]:
            copy_synced(path, target / path.name)
        shutil.rmtree(linked)
        checkpoint.prune(self.place, self.limit)

    def keep_run(self) -> None:
        """Copy the finished run, its record last, and remove the checkpoints, which it replaces."""
        self.place.mkdir(parents=True, exist_ok=True)
        files = [path for path in self.run.iterdir() if path.is_file() and path.name != RECORD]
        for path in [*files, self.run / RECORD]:
            copy_synced(path, self.place / path.name)
        checkpoint.prune(self.place, 0)

    def finish(self, folder: Path | None) -> None:
        """Wait for what is being copied; then copy the last checkpoint, or with None the run."""
        if self.thread:
            self.thread.join()
        if folder is None:
            self.guarded(self.keep_run)
        elif not (self.place / folder.name / MANIFEST).exists():
            self.copy(folder)
            self.thread.join()
        if not self.failed:
            say(f"{'the run' if folder is None else folder.name} is in {self.place} too")

    def guarded(self, work, *args) -> None:
        try:
            work(*args)
        except OSError as error:
            if not self.failed:
                clear_line()
                reason = error.strerror or error
                say(f"--mirror: {self.place} cannot be written ({reason}); the training goes on")
            self.failed = True
        else:
            self.failed = False


def link(source: str, target: str) -> None:
    """The same file under another name; a copy where the system knows no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def copy_synced(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    checkpoint.sha256(target, sync=True)
