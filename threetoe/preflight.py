"""What an export needs is asked for in seconds, before anything is touched."""

from concurrent.futures import Future, wait
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from threading import Thread

from threetoe import base as bases
from threetoe import gguf_unsloth, hub, room
from threetoe.adapter import check_merge
from threetoe.errors import Checks, UserError
from threetoe.export_checks import PARTIAL, beside
from threetoe.gguf_export import check_model, types_asked
from threetoe.gguf_tensors import is_written_here
from threetoe.hub_base import Base, find_base
from threetoe.shards import Stored, list_checkpoint, read_json

WEIGHTY = ("merged", "merged-4bit", "gguf", "ollama")  # formats that read the base's weights
SECONDS = 15  # for all that is asked of the Hub, side by side


def preflight(job) -> None:
    """Check base, adapter, disk, memory and Hub for an export.Plan; nothing is written.

    Raises one UserError with a line for each thing that is missing.
    """
    checks, config = Checks(), job.config
    asked = {}
    with TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        if any(name in WEIGHTY for name in job.outputs):
            asked["base"] = lambda: find_base(
                bases.name_of_weights(job.run, config), Path(scratch), SECONDS
            )
        if config.push:
            asked["push"] = lambda: hub.check_push(config.push, config.create_pr, config.revision)
        answers = side_by_side(asked, SECONDS)
        base = checks(answers["base"]) if "base" in answers else None
        tensors = checks(check_base, base, job) if base else None
    checks.problems += room.disk_problems(wanted(job, base, tensors))
    if tensors:
        checks.problems += memory_problems(job, tensors)
    if "push" in answers:
        checks(answers["push"])
    checks.done()


def side_by_side(asked: dict, seconds: float) -> dict:
    """Ask all at once; by name a function that returns, or raises, what came of it.

    What has no answer within `seconds` is a UserError. The threads are daemons: a server that
    never answers holds up neither the rest nor the end of the program.
    """
    if not asked:
        return {}
    futures = {name: Future() for name in asked}
    with hub.answers_within(seconds):
        for name, ask in asked.items():
            Thread(target=settle, args=(futures[name], ask), daemon=True).start()
        wait(futures.values(), timeout=seconds)
    return {name: lambda future=future: answer(future, seconds) for name, future in futures.items()}


def settle(future: Future, ask) -> None:
    try:
        future.set_result(ask())
    except Exception as error:  # raised again where the answer is taken
        future.set_exception(error)


def answer(future: Future, seconds: float):
    if not future.done():
        raise UserError(f"The Hub did not answer within {seconds:g} seconds; try again later.")
    return future.result()


def check_base(base: Base, job) -> list[Stored]:
    """The base's tensors, once the adapter fits them. What 4-bit weights on the Hub stand for is
    written in bytes that are not here yet: those are judged when they are read."""
    if job.config.gguf or job.config.ollama:
        check_model(read_json(base.folder / "config.json"), types_asked(job.config))
    if base.hollow and bases.is_prequantised(str(base.folder)):
        return list_checkpoint(base.folder)
    return check_merge(base.folder, job.folder)[0]


def wanted(job, base: Base | None, tensors: list[Stored] | None) -> list:
    """What needs disk space: (name, path, bytes, what mends it), resumed parts taken off."""
    entries = []
    adapter = adapter_bytes(job.folder)
    for name, path in job.outputs.items():
        size = size_of(name, job.config, tensors, adapter, base)
        if size:
            left = max(0, size - room.bytes_in(beside(path, PARTIAL)))
            entries.append((f"--{name} {path}", path, left, "name a folder on another disk"))
    if job.config.push and not job.outputs:
        mends = "make room there, or set TMPDIR"
        entries.append(("the adapter to push", Path(gettempdir()), adapter, mends))
    if base and base.download:
        entries.append(
            (f"the download of {base.name}", hub_cache(), base.download, "set HF_HOME to a folder "
             "on another disk"),
        )  # fmt: skip
    return entries


def size_of(name: str, config, tensors: list[Stored] | None, adapter: int, base: Base) -> int:
    """Bytes of one output; 0 where that cannot be known."""
    if name == "adapter":
        return adapter
    if name not in WEIGHTY or not tensors:
        return 0
    if name == "merged":
        size = room.merged_bytes(tensors, config.dtype)
    elif name == "merged-4bit":
        size = room.nf4_bytes(tensors)
    else:
        kinds = types_asked(config)[: None if name == "gguf" else 1]
        size = sum(room.gguf_bytes(tensors, kind) for kind in kinds)
        if not is_written_here(base.folder):
            size += gguf_unsloth.bytes_beside(tensors, kinds)
    return int(size * room.SLACK) + room.BESIDES


def adapter_bytes(folder: Path) -> int:
    return (folder / "adapter_model.safetensors").stat().st_size + room.BESIDES


def hub_cache() -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def memory_problems(job, tensors: list[Stored]) -> list[str]:
    """A line when less memory is left than a merge, or the comparison after it, takes."""
    available = room.available_memory()
    if available is None:
        return []
    verify = room.verify_bytes(tensors) if job.config.verify else 0
    if available < room.MERGE_MEMORY:
        needed, mends = room.MERGE_MEMORY, "close other programs"
        what = "A merge"
    elif available < verify:
        needed, mends = verify, "close other programs, or leave it out with --no-verify"
        what = "The comparison after the export"
    else:
        return []
    return [
        f"{what} needs {room.shown(needed)} of memory, {room.shown(available)} are available; "
        f"{mends}."
    ]
