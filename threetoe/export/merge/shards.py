"""Where the tensors of a new checkpoint go, and which of its shards a stopped merge has left."""

import hashlib
import math
import os
from collections.abc import Callable, Collection
from dataclasses import replace
from operator import attrgetter
from pathlib import Path

from threetoe import __version__
from threetoe.backend.checkpoint import FLOATS, Stored
from threetoe.export.merge.changes import Change
from threetoe.export.merge.options import MergeOptions
from threetoe.machine.files import write_json
from threetoe.machine.records import read_json

INDEX = "model.safetensors.index.json"
BITS = {"F32": 32, "F16": 16, "BF16": 16}
PLAN = "merge.plan.json"  # in the folder that is being filled; taken out when it is renamed
UNCHANGED = Change()


def output_of(source: Stored, dtype: str | None, change: Change = UNCHANGED) -> Stored:
    """What a base tensor becomes; its place in a file is not known yet.

    `dtype` is a safetensors name for every float tensor, or None for each one's own.
    """
    to = dtype if dtype and source.dtype in FLOATS else source.dtype
    shape = change.shape_of(source)
    size = math.prod(shape) * BITS[to] // 8 if to in BITS else source.size
    return replace(source, dtype=to, shape=shape, size=size)


def lay_out(
    outputs: list[Stored], folder: Path, max_shard_size: int, size_of: Callable = attrgetter("size")
) -> dict[Path, list[Stored]]:
    """The tensors of each shard, split as transformers splits them; `size_of` says a tensor's
    bytes. Wider numbers come first: torch cannot view a tensor whose start is no multiple of its
    width."""
    from huggingface_hub import split_state_dict_into_shards_factory

    split = split_state_dict_into_shards_factory(
        {output.name: output for output in outputs}, get_storage_size=size_of,
        filename_pattern="model{suffix}.safetensors", max_shard_size=max_shard_size,
    )  # fmt: skip
    shards: dict[Path, list[Stored]] = {folder / file: [] for file in split.filename_to_tensors}
    for output in sorted(outputs, key=lambda output: -output.size // max(output.count, 1)):
        shard = shards[folder / split.tensor_to_filename[output.name]]
        start = shard[-1].start + shard[-1].size if shard else 0
        shard.append(replace(output, start=start))
    return shards


def begin(files: Collection[Path], inputs: list) -> None:
    """Leaves those of a merge's files that the same merge wrote before it was stopped.

    `inputs` says all that their bytes depend on. What another merge left behind is removed, by its
    own list; FileExistsError for files that no merge is known to have written.
    """
    folder = next(iter(files)).parent
    names = [*(file.name for file in files), INDEX]
    plan = {"inputs": inputs, "files": names, "threetoe": __version__}
    found = read_json(folder / PLAN) if (folder / PLAN).exists() else {"files": []}
    if found == plan:
        return
    for name in found["files"]:
        (folder / name).unlink(missing_ok=True)
        (folder / f"{name}.part").unlink(missing_ok=True)
    if foreign := [name for name in names if (folder / name).exists()]:
        raise FileExistsError(f"{folder / foreign[0]} exists already.")
    write_json(folder / PLAN, plan)
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """The names of the files in it are on the disk, too; other systems do that by themselves."""
    if os.name == "posix":
        listing = os.open(folder, os.O_RDONLY)
        os.fsync(listing)
        os.close(listing)


def inputs_of(base: Path, adapter: Path, options: MergeOptions) -> list:
    """All that a merge's bytes depend on; of the base sizes and times, as reading its bytes would
    take as long as the merge."""
    files = sorted([*base.glob("*.safetensors*"), *base.glob("config.json")])
    stats = {file.name: [file.stat().st_size, file.stat().st_mtime_ns] for file in files}
    files = [adapter / "adapter_config.json", adapter / "adapter_model.safetensors"]
    hashes = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    used = f"{options.as_used.__module__}.{options.as_used.__qualname__}"
    return [stats, hashes, used, options.dtype, options.max_shard_size, options.rounding]
