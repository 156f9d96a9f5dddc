"""Where the tensors of a new checkpoint go: shards, their headers and their index."""

import json
import math
import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from threetoe.shards import FLOATS, Stored

INDEX = "model.safetensors.index.json"
BITS = {"F32": 32, "F16": 16, "BF16": 16}


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
    shards = in_shards(pairs, lambda pair: pair[1].size, max_shard_size)
    return [place(pairs, folder, n, len(shards)) for n, pairs in enumerate(shards, 1)]


def in_shards(items: Iterable, size_of: Callable, max_shard_size: int) -> list[list]:
    """The items of each shard; `size_of` says an item's bytes."""
    shards, room = [[]], max_shard_size
    for item in items:
        size = size_of(item)
        if size > room and shards[-1]:
            shards.append([])
            room = max_shard_size
        room -= size
        shards[-1].append(item)
    return shards


def place(pairs, folder: Path, number: int, shards: int) -> list[tuple[Stored, Stored]]:
    """The same pairs with file and start of each output filled in, starts counted from 0.

    Wider numbers come first: torch cannot view a tensor whose start is no multiple of its width.
    """
    name = shard_name(number, shards)
    placed, start = [], 0
    for source, output in sorted(pairs, key=lambda pair: -pair[1].size // max(pair[1].count, 1)):
        placed.append((source, replace(output, file=folder / name, start=start)))
        start += output.size
    return placed


def shard_name(number: int, shards: int) -> str:
    return f"model-{number:05}-of-{shards:05}.safetensors" if shards > 1 else "model.safetensors"


def header_bytes(tensors: Iterable[Stored], room: int = 0) -> bytes:
    """The header of a file that holds these tensors, padded so that the numbers are aligned; with
    `room`, to so many bytes."""
    header: dict = {"__metadata__": {"format": "pt"}}
    for tensor in tensors:
        ends = [tensor.start, tensor.start + tensor.size]
        header[tensor.name] = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": ends}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * max(-len(text) % 8, room - 8 - len(text))
    return len(text).to_bytes(8, "little") + text


def write_index(folder: Path, outputs: list[Stored]) -> None:
    """The index as transformers writes it; nothing for a single file."""
    if len({output.file for output in outputs}) > 1:
        sizes = {
            "total_parameters": sum(output.count for output in outputs),
            "total_size": sum(output.size for output in outputs),
        }
        index = {"metadata": sizes, "weight_map": {out.name: out.file.name for out in outputs}}
        write_durably(folder / INDEX, index)
    sync_folder(folder)


def write_durably(file: Path, values: dict) -> None:
    """A JSON file that is on the disk and whole before it bears its name."""
    part = file.with_name(file.name + ".part")
    with open(part, "w", encoding="utf-8") as opened:
        opened.write(json.dumps(values, indent=2, sort_keys=True) + "\n")
        opened.flush()
        os.fsync(opened.fileno())
    part.replace(file)


def sync_folder(folder: Path) -> None:
    """The names of the files in it are on the disk, too; other systems do that by themselves."""
    if os.name == "posix":
        listing = os.open(folder, os.O_RDONLY)
        os.fsync(listing)
        os.close(listing)
