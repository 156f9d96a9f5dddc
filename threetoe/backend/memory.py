"""How much memory a training takes at its peak, from the base's configuration alone.

weights  NF4: half a byte a number, and 0.127 bits for its scales, which are quantised too (QLoRA,
         arXiv 2305.14314, section 3). Embeddings, head and what a repository names keep 16 bits
adapter  r x (in + out) numbers a matrix, in fp32, a gradient each, and two moments of Adam: a byte
         each in 8 bits with a scale for 256 of them (arXiv 2110.02861), or 4 bytes; so do matrices
         that are trained whole. DoRA makes one matrix at a time whole in fp32, twice
tokens   --new-tokens: PEFT merges the rows into a new matrix at every look, whose gradient is as
         large: four at once, measured with Unsloth's GPU passes run on a CPU
batch    on a GPU what Unsloth itself keeps free for one: 48 bytes a token and hidden number (it
         measured 42 on Llama 3.1 8B), fp32 logits of 2,048 tokens, and on top a sixteenth and
         256 MiB for the allocator (unsloth_zoo/block_swap.py, estimate_training_reserve_bytes);
         without its offloading 2 bytes a layer more, without checkpointing 34 (arXiv 2205.05198)
         on a CPU, as benchmarks/memory.py has measured it: what is kept of each layer, and one
         layer at work or the logits, of which Unsloth makes 16 Mi numbers at a time

What CUDA itself takes is gone by the time free memory is asked.
"""

from typing import NamedTuple

from threetoe.backend.model import keeps_fp32, read_sizes
from threetoe.backend.sizes import Linear, count_of_embeddings, linears_of
from threetoe.machine.libraries import has_gpu
from threetoe.machine.space import available_memory
from threetoe.prompt.new_tokens import WHOLE

NF4, HALF, FULL = 0.5 + 0.127 / 8, 2, 4  # bytes a number
MOMENTS = {"adafactor": 0, "sgd": 0, "lion": 1, "adagrad": 1, "rmsprop": 1, "ademamix": 3}  # else 2
MERGED = 4  # matrices that new tokens make
MIB = 2**20
CHUNK = 16 * MIB  # logits that a CPU makes at a time
SAFE = 512 * MIB  # on a CPU, what the allocator and oneDNN hold beside torch's tensors


class Need(NamedTuple):
    """Bytes that a training takes in any case, and what its batches follow from."""

    weights: float
    adapter: float  # with its gradients and the optimizer
    tokens: float  # of --new-tokens
    kept: float  # a token of a batch, of all layers
    at_work: float  # a token of a batch, of one layer
    vocab: int
    on_gpu: bool

    def batch(self, rows: int, length: int) -> float:
        """Bytes of a batch of so many rows of so many tokens."""
        tokens = rows * length
        kept, at_work, logits = tokens * self.kept, tokens * self.at_work, tokens * self.vocab
        if self.on_gpu:
            logits = FULL * min(logits, 2048 * self.vocab)
            return (kept + at_work + logits) * 17 / 16 + 256 * MIB
        last, before = min(logits, CHUNK), min(max(logits - CHUNK, 0), CHUNK)
        logits = ((HALF + FULL) * last + FULL * before) * (2 if self.tokens else 1)
        return kept + max(at_work, logits) + SAFE

    def peak(self, rows: int, length: int) -> float:
        return self.weights + self.adapter + self.tokens + self.batch(rows, length)

    def most_rows(self, length: int, room: float, step: int) -> int:
        """The most rows at a time, a power of two that divides the `step` rows of a step; or 0."""
        sizes = [size for size in (2**n for n in range(step.bit_length())) if step % size == 0]
        return max((size for size in sizes if self.peak(size, length) <= room), default=0)

    def longest_row(self, length: int, room: float) -> int:
        """The longest row that fits alone, in steps of 64 tokens below `length`; or 0."""
        lengths = range(length // 64 * 64, 0, -64)
        return next((one for one in lengths if self.peak(1, one) <= room), 0)


def need_of(config) -> Need:
    """What training the base of a configuration takes on this machine."""
    wide = FULL if keeps_fp32(config.model) and not config.load_in_4bit else HALF
    return need(config, read_sizes(config.model), linears_of(config.model), has_gpu(), wide)


def need(config, sizes, linears: list[Linear], on_gpu: bool, wide: int = HALF) -> Need:
    """The same for a base of these sizes, its numbers `wide` bytes unless they have 4 bits."""
    stored = getattr(sizes, "quantization_config", None) or {}
    rows = config.token_rows
    matrix = (rows.total if rows else sizes.vocab_size) * sizes.hidden_size * wide
    kept = stored.get("llm_int8_skip_modules") or ()
    packed = config.load_in_4bit or bool(stored)
    adapted = [one for one in linears if one.name.rpartition(".")[2] in config.target_modules]
    trained = config.lora_r * sum(one.inputs + one.outputs for one in adapted)
    whole = WHOLE & {*(config.modules_to_save or ()), *config.target_modules}
    trained += len(whole) * sizes.vocab_size * sizes.hidden_size
    largest = max((one.inputs * one.outputs for one in adapted if config.use_dora), default=0)
    a_layer = sizes.num_hidden_layers * sizes.hidden_size * wide / HALF
    checkpoints = {"unsloth": 0 if on_gpu else 2, "true": 2, "false": 34 if on_gpu else 48}
    return Need(
        weights=count_of_embeddings(sizes) * wide
        + sum(
            one.inputs * one.outputs * (NF4 if packed and not is_in(one.name, kept) else wide)
            for one in linears
        ),
        adapter=trained * (2 * FULL + moments_of(config.optim, on_gpu)) + 2 * FULL * largest,
        tokens=MERGED * matrix if rows else 0,
        kept=checkpoints[config.use_gradient_checkpointing] * a_layer,
        at_work=(48 if on_gpu else 72) * sizes.hidden_size * wide / HALF,
        vocab=rows.total if rows else sizes.vocab_size,
        on_gpu=on_gpu,
    )


def moments_of(optim: str, on_gpu: bool) -> float:
    """Bytes that an optimizer remembers of each trained number: moments in 32 or 8 bits, 8 with a
    scale for 256 numbers, or 4 with one for 128. Paged ones give way when room is short."""
    if on_gpu and optim.startswith("paged"):
        return 0
    count = next((n for name, n in MOMENTS.items() if name in optim), 2)
    if "_4bit" in optim:
        return count * (1 / 2 + 4 / 128)
    return count * (1 + 4 / 256 if "8bit" in optim and on_gpu else FULL)


def answer_bytes(sizes, asked: int, answered: int) -> float:
    """Bytes of one row while a GPU answers it: keys and values of all layers, one layer at work on
    the question as above, and logits of one token in 16 bits and twice in fp32."""
    heads = sizes.num_attention_heads
    head = getattr(sizes, "head_dim", None) or sizes.hidden_size // heads
    kept = 2 * HALF * head * (getattr(sizes, "num_key_value_heads", None) or heads)
    seen = (asked + answered) * kept * sizes.num_hidden_layers
    return seen + asked * 48 * sizes.hidden_size + (HALF + 2 * FULL) * sizes.vocab_size


def is_in(name: str, modules) -> bool:
    """Whether a matrix is one of these modules, or in one of them."""
    return any(f".{module}." in f".{name}." for module in modules)


def free_memory() -> int | None:
    """Bytes that a training may take: of the GPU, or of this machine; None where nobody says."""
    if not has_gpu():
        return available_memory()
    import torch

    return torch.cuda.mem_get_info()[0]
