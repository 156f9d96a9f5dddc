"""Where the tensors of a new checkpoint go: shards, their headers and their index."""

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from threetoe import __version__
from threetoe.backend.checkpoint import FLOATS, Stored, header_bytes
from threetoe.export.merge.options import MergeOptions
from threetoe.machine.files import read_json

INDEX = "model.safetensors.index.json"
BITS = {"F32": 32, "F16": 16, "BF16": 16}
PLAN = "merge.plan.json"  # in the folder that is being filled; taken out when it is renamed


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


def begin(target: Path, files: list[str], inputs: list) -> None:
    """Leaves in `target` those whole shards that the same merge wrote before it was stopped.

    `files` are its shards; `inputs` says all that their bytes depend on. What another merge left
    behind is removed, by its own list; FileExistsError for files that no merge is known to have
    written.
    """
    names = [*files, INDEX]
    plan = {"inputs": inputs, "files": names, "threetoe": __version__}
    found = read_plan(target)
    known = found["files"] if found else []
    if foreign := [name for name in names if name not in known and (target / name).exists()]:
        raise FileExistsError(f"{target / foreign[0]} exists already.")
    for name in known:
        (target / f"{name}.part").unlink(missing_ok=True)
        if found != plan:
            (target / name).unlink(missing_ok=True)
    if found != plan:
        write_durably(target / PLAN, plan)
        sync_folder(target)


def read_plan(target: Path) -> dict | None:
    """The plan in a folder, if there is one: it was renamed when whole."""
    file = target / PLAN
    return read_json(file) if file.exists() else None


def keep_whole(outputs: list) -> None:
    """Removes a shard that does not hold exactly these tensors."""
    file, header = outputs[0].file, header_bytes(outputs)
    if not file.exists():
        return
    with open(file, "rb") as opened:
        same = opened.read(len(header)) == header
    if not same or file.stat().st_size != len(header) + sum(output.size for output in outputs):
        file.unlink()


def inputs_of(base: Path, adapter: Path, options: MergeOptions) -> list:
    """All that a merge's bytes depend on."""
    used = f"{options.as_used.__module__}.{options.as_used.__qualname__}"
    chosen = used, options.dtype, options.max_shard_size, options.rounding
    return [base_inputs(base), adapter_inputs(adapter), *chosen]


def base_inputs(base: Path) -> dict:
    """Sizes and times of a base's files: reading its bytes would take as long as the merge."""
    files = sorted([*base.glob("*.safetensors*"), *base.glob("config.json")])
    stats = {file.name: file.stat() for file in files}
    return {name: [stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()}


def adapter_inputs(adapter: Path) -> dict:
    """The SHA-256 of an adapter's two files."""
    names = ("adapter_config.json", "adapter_model.safetensors")
    return {name: hashlib.sha256((adapter / name).read_bytes()).hexdigest() for name in names}
