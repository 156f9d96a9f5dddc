"""Shards written in order by a thread of their own, past the page cache; named when whole."""

import errno
import json
import mmap
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from itertools import chain
from operator import attrgetter
from pathlib import Path

from threetoe.backend.checkpoint import Stored, header_bytes, read_header
from threetoe.errors import UserError
from threetoe.export.merge.shards import BITS, INDEX, sync_folder

BUFFER = 8 * 2**20  # bytes written at once; a multiple of every disk's block


class Shard:
    """Tensors written one after the other into a file, behind `room` bytes for their header.

    What is written is copied, so the caller may use its memory again at once. On Linux the file
    is opened for direct I/O: pages that nobody reads again are not put into memory, and the last
    sync finds nothing to do. OSError of the writing thread is raised by a later call.
    """

    def __init__(self, file: Path, room: int, thread: ThreadPoolExecutor):
        self.file, self.room, self.thread = file, room, thread
        self.descriptor, self.writing = open_direct(file), thread.submit(int)  # nothing yet
        self.filling, self.spare = mmap.mmap(-1, BUFFER), mmap.mmap(-1, BUFFER)
        self.placed: list[Stored] = []
        self.late: list[tuple] = []
        self.filled = self.end = 0
        self.write(bytes(room))
        self.end = 0  # counted behind the header

    def put(self, name: str, dtype: str, shape, pieces: Iterable, late=False) -> None:
        """Writes a tensor; `late` ones, whose odd sizes would leave the next one at a place where
        torch cannot view it, go behind all others."""
        if late:
            self.late.append((name, dtype, shape, [b"".join(map(bytes, pieces))]))
            return
        start = self.end
        for piece in pieces:
            self.write(piece)
        self.placed.append(Stored(name, dtype, shape, self.file, start, self.end - start))

    def write(self, data) -> None:
        data, taken = memoryview(data).cast("B"), 0
        while taken < len(data):
            count = min(len(data) - taken, BUFFER - self.filled)
            self.filling[self.filled : self.filled + count] = data[taken : taken + count]
            taken += count
            self.filled += count
            if self.filled == BUFFER:
                self.writing.result()
                self.writing = self.thread.submit(write_all, self.descriptor, self.filling)
                self.filling, self.spare, self.filled = self.spare, self.filling, 0
        self.end += len(data)

    def finish(self) -> None:
        """Writes what was kept back, wide numbers first, and the header; all is on the disk."""
        for late in sorted(self.late, key=lambda late: -BITS.get(late[1], 8)):
            self.put(*late)
        self.writing.result()
        end_direct(self.descriptor)  # the last bytes fill no block
        write_all(self.descriptor, memoryview(self.filling)[: self.filled])
        os.lseek(self.descriptor, 0, os.SEEK_SET)
        write_all(self.descriptor, header_bytes(self.placed, self.room))
        os.fsync(self.descriptor)

    def close(self) -> None:
        wait([self.writing])
        os.close(self.descriptor)


@contextmanager
def new_shard(file: Path, room: int, thread: ThreadPoolExecutor) -> Iterator[Shard]:
    """A Shard NAME.part, which is NAME when all of it is on the disk; after an error no file
    stays."""
    part = file.with_name(file.name + ".part")
    try:
        with closing(Shard(part, room, thread)) as shard:
            yield shard
            shard.finish()
        part.replace(file)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def open_direct(file: Path) -> int:
    """A new file for writing, past the page cache where the system and the disk can."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0)
    try:
        return os.open(file, flags | getattr(os, "O_DIRECT", 0), 0o666)
    except OSError as error:
        if error.errno != errno.EINVAL:  # how a file system says that it has no direct I/O
            raise
        return os.open(file, flags, 0o666)


def end_direct(descriptor: int) -> None:
    if hasattr(os, "O_DIRECT"):
        import fcntl

        flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags & ~os.O_DIRECT)


def write_all(descriptor: int, data) -> None:
    data = memoryview(data)
    while data:
        try:
            count = os.write(descriptor, data)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            end_direct(descriptor)  # some disks open a file for direct I/O and then refuse it
            count = os.write(descriptor, data)
        data = data[count:]


def is_whole(file: Path) -> bool:
    try:
        return bool(read_header(file))
    except UserError:  # it is not there, or cut short
        return False


def write_shards(
    shards: dict[Path, list[Stored]],
    put: Callable,
    progress: Callable,
    size_of: Callable = attrgetter("size"),
    room_of: Callable = lambda outputs: len(header_bytes(outputs)),
) -> None:
    """Writes every shard that is not there yet, put(shard, output) each of its outputs, and the
    index of all.

    `progress(done, total)` is told bytes after each tensor, as `size_of` counts them; `room_of`
    says how many a header needs. An error (disk full, or of `put`) is raised; shards before it
    stay.
    """
    missing = {file: outputs for file, outputs in shards.items() if not is_whole(file)}
    total, left = (sum(map(size_of, chain(*some.values()))) for some in (shards, missing))
    with ThreadPoolExecutor(1) as thread:
        for file, outputs in missing.items():
            with new_shard(file, room_of(outputs), thread) as shard:
                for output in outputs:
                    put(shard, output)
                    left -= size_of(output)
                    progress(total - left, total)
    write_index(list(shards))


def write_index(files: list[Path]) -> None:
    """The index as transformers writes it; nothing for a single file."""
    folder, tensors = files[0].parent, [tensor for file in files for tensor in read_header(file)]
    if files[1:]:
        sizes = {
            "total_parameters": sum(tensor.count for tensor in tensors),
            "total_size": sum(tensor.size for tensor in tensors),
        }
        index = {"metadata": sizes, "weight_map": {one.name: one.file.name for one in tensors}}
        with open(folder / INDEX, "w", encoding="utf-8") as file:
            file.write(json.dumps(index, indent=2, sort_keys=True) + "\n")
            file.flush()
            os.fsync(file.fileno())
    sync_folder(folder)
