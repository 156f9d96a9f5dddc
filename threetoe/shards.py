"""Safetensors checkpoints as streams: what a folder holds, and shards written in order.

The format: 8 bytes with the header's length (little endian), a JSON header that gives every
tensor's dtype, shape and place, then the bytes (github.com/huggingface/safetensors#format).
Headers are read without torch, so that a whole checkpoint is checked in milliseconds.
"""

import json
import math
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from threetoe.errors import UserError

FLOATS = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}  # safetensors' name: torch's
BITS = {"F32": 32, "F16": 16, "BF16": 16}
WAITING = 2  # chunks handed to the writer thread and perhaps not yet written
FLUSH_BYTES = 32 * 2**20  # asked of the disk at once, so that the last fsync finds little to do


@dataclass(frozen=True)
class Stored:
    """One tensor of a safetensors file; `start` and `size` are bytes from the file's start."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    start: int
    size: int

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} {list(self.shape)}"

    @property
    def count(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


def read_json(file: Path) -> dict:
    """The object in a JSON file; UserError when it is missing or broken."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{file} does not exist.") from None
    except ValueError as error:
        raise UserError(f"{file} is not valid JSON: {error}") from None


def read_header(file: Path) -> list[Stored]:
    """The tensors of one file in the order of their bytes; UserError when the file is not whole."""
    try:
        with open(file, "rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            total = os.fstat(opened.fileno()).st_size
            header = json.loads(opened.read(length)) if length <= total - 8 else None
    except FileNotFoundError:
        raise UserError(f"{file} does not exist.") from None
    except ValueError:
        header = None
    if not isinstance(header, dict):
        raise UserError(f"{file} ({total} bytes) is not a safetensors file, or only its beginning.")
    header.pop("__metadata__", None)
    found = []
    for name, facts in header.items():
        start, end = facts["data_offsets"]
        place = 8 + length + start
        found.append(Stored(name, facts["dtype"], tuple(facts["shape"]), file, place, end - start))
    found.sort(key=lambda tensor: tensor.start)
    expected = found[-1].start + found[-1].size if found else 8 + length
    if expected != total:
        raise UserError(f"{file} is cut short: it has {total} bytes, its header asks {expected}.")
    return found


def list_checkpoint(folder: Path) -> list[Stored]:
    """Every tensor of a model folder in order, from its single file or its indexed shards."""
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file():
        return read_header(single)
    if not index.is_file():
        raise UserError(f"{folder} has neither {single.name} nor {index.name}: no weights to read.")
    places = read_json(index).get("weight_map", {})
    tensors = [t for file in sorted(set(places.values())) for t in read_header(folder / file)]
    lost = sorted(places.keys() - {tensor.name for tensor in tensors})
    if lost:
        raise UserError(f"{index} lists {lost[0]} and {len(lost) - 1} more that no shard holds.")
    return tensors


def output_of(source: Stored, dtype: str | None, heights: dict[str, int]) -> Stored:
    """What a base tensor becomes; its place in a file is not known yet.

    `dtype` is a safetensors name for every float tensor, or None for each one's own. `heights`
    names the tensors that become larger, with their rows.
    """
    to = dtype if dtype and source.dtype in FLOATS else source.dtype
    shape = (heights[source.name], *source.shape[1:]) if source.name in heights else source.shape
    size = math.prod(shape) * BITS[to] // 8 if to in BITS else source.size
    return replace(source, dtype=to, shape=shape, size=size)


def lay_out(pairs, folder: Path, max_shard_size: int) -> list[list[tuple[Stored, Stored]]]:
    """Shards of pairs (source, output), split as transformers splits: in order, greedily.

    A tensor larger than `max_shard_size` (bytes) gets a shard of its own.
    """
    shards, room = [[]], max_shard_size
    for source, output in pairs:
        if output.size > room and shards[-1]:
            shards.append([])
            room = max_shard_size
        room -= output.size
        shards[-1].append((source, output))
    return [place(pairs, folder, n, len(shards)) for n, pairs in enumerate(shards, 1)]


def place(pairs, folder: Path, number: int, shards: int) -> list[tuple[Stored, Stored]]:
    """The same pairs with file and start of each output filled in, starts counted from 0.

    Wider numbers come first: torch cannot view a tensor whose start is no multiple of its width.
    """
    name = f"model-{number:05}-of-{shards:05}.safetensors" if shards > 1 else "model.safetensors"
    placed, start = [], 0
    for source, output in sorted(pairs, key=lambda pair: -pair[1].size // max(pair[1].count, 1)):
        placed.append((source, replace(output, file=folder / name, start=start)))
        start += output.size
    return placed


def header_bytes(tensors: Iterable[Stored]) -> bytes:
    """The header of a file that holds these tensors, padded so that the numbers are aligned."""
    header: dict = {"__metadata__": {"format": "pt"}}
    for tensor in tensors:
        ends = [tensor.start, tensor.start + tensor.size]
        header[tensor.name] = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": ends}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def write_shards(shards, chunks: Callable, progress: Callable | None = None) -> None:
    """Writes every shard through one writer thread and syncs it to the disk.

    `chunks(source, output)` yields an output's bytes in order; of a yielded buffer nothing may
    change until WAITING more were yielded. `progress(done, total)` is told bytes after each
    tensor. An error of the writer (disk full) or of `chunks` is raised here; files stay behind.
    """
    total, done = sum(output.size for pairs in shards for _, output in pairs), 0
    pending: deque = deque()
    with ExitStack() as files, ThreadPoolExecutor(1) as writer:
        for pairs in shards:
            file = files.enter_context(open(pairs[0][1].file, "xb"))
            pending.append(writer.submit(file.write, header_bytes(out for _, out in pairs)))
            for source, output in pairs:
                for chunk in chunks(source, output):
                    pending.append(writer.submit(write_chunk, file, chunk))
                    while len(pending) > WAITING:
                        pending.popleft().result()
                done += output.size
                if progress:
                    progress(done, total)
            pending.append(writer.submit(sync, file))
        while pending:
            pending.popleft().result()


def write_chunk(file, chunk) -> None:
    before = file.tell() // FLUSH_BYTES
    file.write(chunk)
    if sys.platform == "linux" and file.tell() // FLUSH_BYTES > before:
        # Starts writing dirty pages back without waiting for them: halves the time to the sync.
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def sync(file) -> None:
    file.flush()
    os.fsync(file.fileno())
    file.close()


def write_index(folder: Path, shards) -> None:
    """model.safetensors.index.json as transformers writes it; nothing for a single file."""
    outputs = [output for pairs in shards for _, output in pairs]
    if len(shards) > 1:
        sizes = {
            "total_parameters": sum(output.count for output in outputs),
            "total_size": sum(output.size for output in outputs),
        }
        index = {"metadata": sizes, "weight_map": {out.name: out.file.name for out in outputs}}
        with open(folder / "model.safetensors.index.json", "x", encoding="utf-8") as file:
            file.write(json.dumps(index, indent=2, sort_keys=True) + "\n")
            file.flush()
            os.fsync(file.fileno())
    if os.name == "posix":  # the names of the files are on the disk, too
        listing = os.open(folder, os.O_RDONLY)
        os.fsync(listing)
        os.close(listing)
