"""What an interrupted merge was doing, so that the same merge goes on at its next shard."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from threetoe import __version__
from threetoe.shard_layout import INDEX, header_bytes, sync_folder, write_durably
from threetoe.shards import read_json

PLAN = "merge.plan.json"  # in the folder that is being filled; taken out when it is renamed


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


def inputs_of(base: Path, adapter: Path, as_used: Callable, *options) -> list:
    """All that a merge's bytes depend on."""
    used = f"{as_used.__module__}.{as_used.__qualname__}"
    return [base_inputs(base), adapter_inputs(adapter), used, *options]


def base_inputs(base: Path) -> dict:
    """Sizes and times of a base's files: reading its bytes would take as long as the merge."""
    files = sorted([*base.glob("*.safetensors*"), *base.glob("config.json")])
    stats = {file.name: file.stat() for file in files}
    return {name: [stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()}


def adapter_inputs(adapter: Path) -> dict:
    """The SHA-256 of an adapter's two files."""
    names = ("adapter_config.json", "adapter_model.safetensors")
    return {name: hashlib.sha256((adapter / name).read_bytes()).hexdigest() for name in names}
