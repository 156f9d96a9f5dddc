"""Shards written in order by a thread of their own, past the page cache; named when whole."""

import errno
import mmap
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from threetoe.backend.checkpoint import header_bytes

BUFFER = 4 * 2**20  # bytes written at once; a multiple of every disk's block
BUFFERS = 3  # one is filled while others are written


class ShardFile:
    """A file NAME.part that close() makes durable and renames to NAME.

    What is written is copied, so the caller may use its memory again at once. On Linux the file
    is opened for direct I/O: pages that nobody reads again are not put into memory, and the last
    sync finds nothing to do. OSError of the writing thread is raised by the next call.
    """

    def __init__(self, file: Path, thread: ThreadPoolExecutor):
        self.file, self.part = file, file.with_name(file.name + ".part")
        self.descriptor, self.thread = open_direct(self.part), thread
        self.free = deque(mmap.mmap(-1, BUFFER) for _ in range(BUFFERS))
        self.pending: deque = deque()
        self.filled = 0

    def write(self, data) -> None:
        """Takes all bytes of a buffer."""
        data, taken = memoryview(data).cast("B"), 0
        while taken < len(data):
            count = min(len(data) - taken, BUFFER - self.filled)
            current = memoryview(self.free[0])
            current[self.filled : self.filled + count] = data[taken : taken + count]
            taken += count
            self.filled += count
            if self.filled == BUFFER:
                self.hand_over()

    def hand_over(self) -> None:
        """Gives the full buffer to the thread, and waits until another one is free."""
        buffer = self.free.popleft()
        job = self.thread.submit(write_all, self.descriptor, memoryview(buffer)[: self.filled])
        self.pending.append((job, buffer))
        self.filled = 0
        while not self.free:
            self.take_back()

    def take_back(self) -> None:
        job, buffer = self.pending.popleft()
        job.result()
        self.free.append(buffer)

    def close(self, head: bytes = b"") -> None:
        """Everything is on the disk, and the file has its name; `head` replaces its beginning."""
        while self.pending:
            self.take_back()
        end_direct(self.descriptor)  # the last bytes fill no block
        write_all(self.descriptor, memoryview(self.free[0])[: self.filled])
        os.lseek(self.descriptor, 0, os.SEEK_SET)
        write_all(self.descriptor, memoryview(head))
        os.fsync(self.descriptor)
        os.close(self.descriptor)
        self.part.rename(self.file)

    def abandon(self) -> None:
        """After an error: nothing is written any more, and no file stays."""
        for job, _ in self.pending:
            job.cancel() or job.exception()
        os.close(self.descriptor)
        self.part.unlink()


def open_direct(file: Path) -> int:
    """A new file for writing, past the page cache where the system and the disk can."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    try:
        return os.open(file, flags | getattr(os, "O_DIRECT", 0), 0o666)
    except OSError as error:
        if error.errno != errno.EINVAL:  # how a file system says that it has no direct I/O
            raise
        file.unlink(missing_ok=True)
        return os.open(file, flags, 0o666)


def end_direct(descriptor: int) -> None:
    if hasattr(os, "O_DIRECT"):
        import fcntl

        flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags & ~os.O_DIRECT)


def write_all(descriptor: int, data: memoryview) -> None:
    while data:
        try:
            count = os.write(descriptor, data)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            end_direct(descriptor)  # some disks open a file for direct I/O and then refuse it
            count = os.write(descriptor, data)
        data = data[count:]


def write_shards(shards, pieces: Callable, progress: Callable | None = None) -> None:
    """Writes every shard that is not there yet.

    `pieces(source, output)` yields an output's bytes in order. `progress(done, total)` is told
    bytes after each tensor, and at once for a shard that is there. An error (disk full, or of
    `pieces`) is raised; the shards before it then stay.
    """
    total, done = sum(output.size for pairs in shards for _, output in pairs), 0
    tell = progress or (lambda done, total: None)
    with ThreadPoolExecutor(1) as thread:
        for pairs in shards:
            if pairs[0][1].file.exists():
                done += sum(output.size for _, output in pairs)
                tell(done, total)
                continue
            shard = ShardFile(pairs[0][1].file, thread)
            try:
                shard.write(header_bytes(output for _, output in pairs))
                for source, output in pairs:
                    for piece in pieces(source, output):
                        shard.write(piece)
                    done += output.size
                    tell(done, total)
                shard.close()
            except BaseException:
                shard.abandon()
                raise
