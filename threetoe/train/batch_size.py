"""How many rows pass at a time: what fits into memory, said before the base is loaded."""

from dataclasses import replace

from threetoe.backend import memory
from threetoe.backend.memory import Need
from threetoe.errors import UserError
from threetoe.machine import processes
from threetoe.machine.terminal import shown
from threetoe.options.types import AUTO
from threetoe.train.durable import resume
from threetoe.train.row_sets import RowSets

SURE = 0.85  # of the estimate: no training that was measured has taken less


def resolve_batch_size(job, rows: RowSets):
    """The TrainPlan with a number of rows at a time, and a line on memory; UserError where the
    base and one row cannot fit. Memory that does run out makes batches smaller by itself."""
    config, step = job.config, job.config.rows_a_step // processes.count()
    need, free = memory.need_of(config), memory.free_memory()
    length = config.max_seq_length
    if config.batching_strategy == "padding":
        length = min(length, -(-int(rows.lengths().max()) // 8) * 8)
    fits = need.most_rows(length, free, step) if free else 0
    size = config.per_device_train_batch_size
    if size == AUTO and processes.count() > 1:
        raise UserError(
            "--per-device-train-batch-size auto: each process would choose its own; name a number."
        )
    if size == AUTO:
        size = of_checkpoint(job) or fits or 1
        job = job.note(f"{size} of a step's {step} rows at a time")
        changes = {"per_device_train_batch_size": size, "gradient_accumulation_steps": step // size}
        job = job._replace(config=replace(config, **changes))
    if free is None:
        return job.note(f"memory: {told(need, size, length)}")
    if not fits and not job.hooks.by_plugins("load_model"):
        check_one_row(config, need, length, free)
    line = f"memory: {told(need, size, length)}, {shown(free)} free"
    if need.peak(size, length) > free:
        line += "; it may run out"
        if fits:
            flags = f"--per-device-train-batch-size {fits} --gradient-accumulation-steps"
            line += f", {flags} {step // fits} would fit"
    return job.note(line)


def of_checkpoint(job) -> int | None:
    """The rows at a time of the training that is continued."""
    found, _ = resume.find(job.config, job.folder)
    if found:
        resume.check_facts(found)
    return found and found.facts["identity"]["per_device_train_batch_size"]


def told(need: Need, rows: int, length: int) -> str:
    """about 7.9 GB (base 5.7 GB, adapter and optimizer 421 MB, 4 rows of 2,048 tokens 1.8 GB)"""
    parts = [f"base {shown(need.weights)}", f"adapter and optimizer {shown(need.adapter)}"]
    parts += [f"new tokens {shown(need.tokens)}"] if need.tokens else []
    parts += [f"{rows} x {length:,} tokens {shown(need.batch(rows, length))}"]
    return f"about {shown(need.peak(rows, length))} ({', '.join(parts)})"


def check_one_row(config, need: Need, length: int, free: int) -> None:
    """UserError where even one row at a time is sure not to fit."""
    if SURE * need.peak(1, length) <= free:
        return
    mends = []
    if shorter := need.longest_row(length, free):
        mends.append(f"--per-device-train-batch-size 1 --max-seq-length {shorter}")
    if config.token_rows:
        mends.append("--new-tokens text")
    if not config.load_in_4bit:
        mends.append("--load-in-4bit")
    raise UserError(
        f"{config.model} takes {told(need, 1, length)} of memory with one row at a time, and "
        f"{shown(free)} are free: {' or '.join([*mends, 'a smaller --model'])} takes less."
    )
