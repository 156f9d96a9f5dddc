"""A copy of each checkpoint in another folder, such as a mounted Drive, or on the Hub, made while
the training goes on: what is needed to continue on another machine.

Drives promise no renaming of folders, so files come first and the manifest last: a copy without it
is not whole, and is never taken. A copy that fails is said once, and stops no training.
"""

import os
import shutil
import threading
from pathlib import Path

from threetoe.errors import Failure, UserError
from threetoe.machine.files import check_writable
from threetoe.machine.terminal import clear_line, say
from threetoe.run.record import RECORD
from threetoe.train.durable import checkpoint
from threetoe.train.durable.checkpoint import MANIFEST, Checkpoint
from threetoe.train.durable.hub_mirror import HubPlace

LINKED = ".mirrored"  # behind the name of a checkpoint that is being copied
HUB = "hub:"


def place_of(mirror, run: Path) -> "FolderPlace | HubPlace":
    """Where the checkpoints of a run lie in a mirror: a folder, or hub:user/model."""
    name = run.resolve().name
    if str(mirror).startswith(HUB):
        return HubPlace(str(mirror).removeprefix(HUB), name)
    return FolderPlace(Path(mirror).expanduser() / name)


def check_mirror(mirror, run: Path, overwrite: bool) -> None:
    """UserError unless this run may be mirrored there."""
    place = place_of(mirror, run)
    ours = run.resolve()
    theirs = place.folder.resolve() if isinstance(place, FolderPlace) else None
    if theirs and (ours.is_relative_to(theirs) or theirs.is_relative_to(ours)):
        raise UserError(f"--mirror {mirror} is where the run is written; name another folder.")
    place.check()
    if place.has(RECORD) and not overwrite:
        raise UserError(
            f"--mirror {mirror} already holds a finished run {run.resolve().name}; name another "
            "--output-dir or --mirror, or replace it with --overwrite."
        )


class FolderPlace:
    """A folder that holds the latest checkpoints of a run, and in the end the run."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __str__(self) -> str:
        return str(self.folder)

    def check(self) -> None:
        held = list(self.folder.iterdir()) if self.folder.is_dir() else []
        is_ours = self.has(RECORD) or checkpoint.found_in(self.folder)
        if held and not is_ours or any(map(Path.is_symlink, held)):
            raise UserError(f"--mirror: {self} holds other files, or links; name another folder.")
        check_writable(self.folder, "--mirror")

    def has(self, name: str) -> bool:
        return (self.folder / name).exists()

    def newest(self) -> tuple[Checkpoint | None, list[str]]:
        return checkpoint.newest(self.folder)

    def put(self, copied: Path, name: str, limit: int) -> None:
        target = self.folder / name
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        copy_files(copied, target, last=MANIFEST)
        checkpoint.prune(self.folder, limit)

    def put_run(self, run: Path) -> None:
        """The finished run, its record last, in the place of its checkpoints."""
        self.folder.mkdir(parents=True, exist_ok=True)
        copy_files(run, self.folder, last=RECORD)
        checkpoint.prune(self.folder, 0)


class Mirror:
    """Copies in a thread; of several checkpoints that wait, the latest."""

    def __init__(self, mirror, run: Path, limit: int):
        self.run, self.place, self.limit = run, place_of(mirror, run), limit
        self.thread: threading.Thread | None = None
        self.copied, self.failed = "", False  # the name of the last checkpoint that is there
        for left in run.glob(f"*{LINKED}"):  # of a process that was killed
            shutil.rmtree(left, ignore_errors=True)

    def copy(self, folder: Path) -> None:
        """Begin to copy a checkpoint; one that is being copied is waited for at the next."""
        if self.thread and self.thread.is_alive():
            return  # the next one will do
        linked = folder.with_name(folder.name + LINKED)  # it stays, whatever is removed meanwhile
        shutil.copytree(folder, linked, copy_function=link)
        work = (self.put, linked, folder.name)
        self.thread = threading.Thread(target=self.guarded, args=work, daemon=True)
        self.thread.start()

    def put(self, linked: Path, name: str) -> None:
        try:
            self.place.put(linked, name, self.limit)
        finally:
            shutil.rmtree(linked, ignore_errors=True)
        self.copied = name

    def finish(self, folder: Path | None) -> None:
        """Wait for what is being copied; then copy the last checkpoint, or with None the run."""
        if self.thread:
            self.thread.join()
        if folder is None:
            self.guarded(self.place.put_run, self.run)
        elif self.copied != folder.name:
            self.copy(folder)
            self.thread.join()
        if not self.failed:
            say(f"{'the run' if folder is None else folder.name} is in {self.place} too")

    def guarded(self, work, *args) -> None:
        try:
            work(*args)
        except (OSError, Failure) as error:  # on the Hub: a PushError, which holds no token
            if not self.failed:
                clear_line()
                reason = str(getattr(error, "strerror", None) or error).rstrip(".")
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


def copy_files(source: Path, target: Path, last: str) -> None:
    """Copy the files of a folder, each on disk before the next; the one of the name `last` last."""
    for path in sorted(source.iterdir(), key=lambda path: path.name == last):
        if path.is_file():
            shutil.copyfile(path, target / path.name)
            checkpoint.sha256(target / path.name, sync=True)
