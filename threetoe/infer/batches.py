"""How many rows are answered at once, and whether rows of different lengths may stand together."""

from dataclasses import replace

from threetoe.backend import memory
from threetoe.backend.generate import generate
from threetoe.backend.reply import Reply, frame_of
from threetoe.machine.libraries import has_gpu
from threetoe.machine.terminal import say
from threetoe.options.infer import InferConfig
from threetoe.options.types import AUTO

ON_CPU = 32  # beyond it a batch's time grows with its rows (benchmarks/infer.py)
MOST = 128  # on a GPU
SPARE = 0.8  # of the free memory: what the estimate may be wrong by
LARGE = 32  # rows, from which on padding is tried first
TRIED = 8  # tokens of an answer


def arranged(job, model, tokenizer, prompts: list[list[int]]):
    """The plan with a number of rows at once, and with rows of one length only where padding
    changes what is answered; both are said."""
    config = job.config
    if config.batch_size == AUTO:
        size, why = ON_CPU, "on a CPU"
        if has_gpu() and prompts:
            size, why = rows_that_fit(config, model, prompts), "by the GPU's free memory"
        config = replace(config, batch_size=size)
        if len(prompts) > size:
            say(f"{size} rows at once, {why}; --batch-size for another number")
    job = job._replace(config=config)
    if (
        not config.equal_lengths
        and len(prompts) >= LARGE
        and is_misled(job, model, tokenizer, prompts)
    ):
        say("this model answers padded rows otherwise: rows of one length are asked together")
        job = job._replace(config=replace(config, equal_lengths=True))
    return job


def rows_that_fit(config: InferConfig, model, prompts: list[list[int]]) -> int:
    """A power of two; the longest rows decide. Where it is too many, batches halve themselves."""
    longest = max(map(len, prompts))
    one = memory.answer_bytes(model.config.get_text_config(), longest, config.max_new_tokens)
    fits = max(1, min(MOST, int(SPARE * memory.free_memory() / one)))
    return 1 << (fits.bit_length() - 1)


def is_misled(job, model, tokenizer, prompts: list[list[int]]) -> bool:
    """Whether the shortest prompt is answered otherwise beside the longest than beside itself."""
    short, long = min(prompts, key=len), max(prompts, key=len)
    frame = frame_of(job.run.the_template(), job.run.the_marks(), job.run.stop_ids)
    greedy = replace(job.config, temperature=0.0, max_new_tokens=TRIED, batch_size=2)
    said = []
    for pair in ([short, long], [short, short]):
        replies = [Reply(tokenizer, frame) for _ in pair]
        list(generate(model, tokenizer, pair, replies, greedy))
        said.append(replies[0].text)
    return said[0] != said[1]
