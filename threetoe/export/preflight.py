"""What an export needs is asked for in seconds, before anything is touched."""

import re
from concurrent.futures import Future, wait
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from threading import Thread

from threetoe.backend.checkpoint import Stored, list_checkpoint, read_base_config
from threetoe.errors import Checks, UserError
from threetoe.export.folder import PARTIAL, asked_for, beside
from threetoe.export.formats import format_of
from threetoe.export.merge.base_weights import Base, find_base, name_of_weights
from threetoe.export.merge.merge import Merge, plan_merge
from threetoe.export.merge.nf4 import CODES, unpacked, unread
from threetoe.export.merge.options import MergeOptions
from threetoe.export.merge.shards import output_of
from threetoe.export.push import check_repo
from threetoe.export.verify.reference import COMPARED
from threetoe.machine import space
from threetoe.machine.hub import answers_within
from threetoe.machine.terminal import shown
from threetoe.run.base import is_prequantised
from threetoe.run.probes import FEWEST

SECONDS = 15  # for all that is asked of the Hub, side by side
BLOCK = re.compile(r"\.(?:layers|h|blocks)\.(\d+)\.")
SLACK, BESIDES = 1.01, 20 * 10**6  # headers and rounding; tokenizer, card, record (bytes)
MERGE_MEMORY = 400 * 10**6  # peak of a streaming merge, torch included
VERIFY_MEMORY = 700 * 10**6  # of a comparison: libraries, and what is compared at a time


def preflight(job) -> None:
    """Check base, adapter, disk, memory and Hub for an ExportJob; nothing is written.

    Raises one UserError with a line for each thing that is missing.
    """
    checks, config = Checks(), job.config
    asked = {}
    with TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        if any(format_of(name).merges for name in job.outputs):
            asked["base"] = lambda: find_base(
                name_of_weights(job.run, config), Path(scratch), SECONDS
            )
        if config.push:
            asked["push"] = lambda: check_repo(config)
        answers = side_by_side(asked, SECONDS)
        base = checks(answers["base"]) if "base" in answers else None
        plan = checks(plan_of, base, job) if base else None
        sizes = {name: checks(size_of, name, job, base, plan) or 0 for name in job.outputs}
    checks.problems += space.disk_problems(wanted(job, base, sizes))
    if plan:
        checks.problems += memory_problems(job, plan.outputs)
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
    with answers_within(seconds):
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


def plan_of(base: Base, job) -> Merge:
    """What will be merged, once the adapter fits the base. What 4-bit weights on the Hub stand for
    is written in bytes that are not here yet: those are judged when they are read, as is an
    adapter that is still to be trained."""
    if job.is_trained and not (base.hollow and is_prequantised(str(base.folder))):
        return plan_merge(base.folder, job.folder, MergeOptions(job.config.dtype))
    tensors = unpacked(list_checkpoint(base.folder), unread)
    dtype = CODES.get(job.config.dtype)
    return Merge({}, [output_of(t, dtype) for t in tensors], {}, False, MergeOptions())


def wanted(job, base: Base | None, sizes: dict[str, int]) -> list:
    """What needs disk space: (name, path, bytes, what mends it), resumed parts taken off."""
    entries = []
    for name, path in job.outputs.items():
        if size := sizes[name]:
            left = max(0, size - space.bytes_in(beside(path, PARTIAL)))
            entries.append((asked_for(name, path), path, left, "name a folder on another disk"))
    if job.config.push and not job.outputs:
        mends = "make room there, or set TMPDIR"
        size = size_of("adapter", job, base, None)
        entries.append(("the adapter to push", Path(gettempdir()), size, mends))
    if base and base.download:
        entries.append(
            (f"the download of {base.name}", hub_cache(), base.download, "set HF_HOME to a folder "
             "on another disk"),
        )  # fmt: skip
    return entries


def size_of(name: str, job, base: Base | None, plan: Merge | None) -> int:
    """Bytes of one output, 0 where that cannot be known; UserError for a GGUF file that cannot be
    written."""
    row = format_of(name)
    if not row.size or row.merges and not plan:
        return 0
    values = read_base_config(base.folder) if plan else {}
    return int(row.size(job.folder, plan, values, job.config) * SLACK) + BESIDES


def hub_cache() -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def memory_problems(job, tensors: list[Stored]) -> list[str]:
    """A line when less memory is left than a merge, or the comparison after it, takes."""
    available = space.available_memory()
    if available is None:
        return []
    verify = verify_bytes(tensors) if job.config.verify else 0
    if available < MERGE_MEMORY:
        needed, mends = MERGE_MEMORY, "close other programs"
        what = "A merge"
    elif available < verify:
        needed, mends = verify, "close other programs, or leave it out with --no-verify"
        what = "The comparison after the export"
    else:
        return []
    return [f"{what} needs {shown(needed)} of memory, {shown(available)} are available; {mends}."]


def verify_bytes(tensors: list[Stored]) -> int:
    """Memory of a comparison layer by layer: the largest part in fp32 and what was written of it,
    and the logits of run, base and export."""
    parts: dict[str, int] = {}
    rows = 0
    for tensor in tensors:
        found = BLOCK.search(tensor.name)
        part = found[1] if found else tensor.name
        parts[part] = parts.get(part, 0) + (4 + 4) * tensor.count
        rows = rows if found else max(rows, tensor.shape[0])
    return VERIFY_MEMORY + max(parts.values()) + 3 * FEWEST * COMPARED * rows * 4
