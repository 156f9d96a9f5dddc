"""Weights in bitsandbytes' 4 bits, a few rows at a time: as loading quantises them, as they are
stored, and as a merge writes them.

NF4 with double quantisation, blocks of 64 (QLoRA, arxiv.org/abs/2305.14314), computed by
bitsandbytes itself. A weight's blocks of 64 numbers are independent, but for the second
quantisation, whose mean is that of the whole weight: its scales are kept, the weight is not.
"""

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from threetoe.backend.checkpoint import FLOATS, Stored, load
from threetoe.errors import UserError

LAYER_WEIGHT = re.compile(r"\.layers\.\d+\..*proj\.weight$")
BLOCK = 64  # numbers that share one scale
PARTS = ("absmax", "quant_map", "nested_absmax", "nested_quant_map")
STATE = ".quant_state.bitsandbytes__"
CODES = {name: code for code, name in FLOATS.items()}


@dataclass(frozen=True)
class Packed(Stored):
    """A weight stored in 4 bits: dtype, shape and size are those of the numbers it stands for."""

    state: dict = field(default_factory=dict)  # bitsandbytes' JSON: quant_type, blocksize, ...
    parts: dict[str, Stored] = field(default_factory=dict)  # absmax, quant_map, nested_...


def as_used_in_4bit(name: str) -> Callable | None:
    """What quantising while loading does to a base tensor of this name, or None when it stays
    16-bit: embeddings, norms and lm_head are never quantised."""
    return rounded_rows if LAYER_WEIGHT.search(name) else None


def rounded_rows(rows: Callable, shape: tuple[int, int], step: int) -> Callable:
    """The function `rows(first, last)` of a weight, which gives some of its rows in fp32, fp16 or
    bf16, made one that gives them rounded to NF4; `step` rows are quantised at once."""
    import torch
    from bitsandbytes import functional

    height, columns = shape
    pieces = (rows(first, min(first + step, height)) for first in range(0, height, step))
    scales = torch.cat([scales_of(piece) for piece in pieces])
    offset = scales.mean()
    scales = functional.dequantize_blockwise(
        *functional.quantize_blockwise(scales - offset, blocksize=256)
    ).add_(offset)

    def rounded(first: int, last: int):
        packed, state = functional.quantize_4bit(rows(first, last), quant_type="nf4")
        state.absmax = scales[first * columns // BLOCK : -(-last * columns // BLOCK)]
        return functional.dequantize_4bit(packed, state)

    return rounded


def on_levels(rows, noise):
    """Whole blocks of a weight, each number moved by chance to one of NF4's two levels beside it,
    in proportion, so that quantising finds that level; `noise` has 16 bits."""
    import torch
    from bitsandbytes import functional

    flat = torch.nn.functional.pad(rows.reshape(-1).float(), (0, -rows.numel() % BLOCK))
    scales = scales_of(flat)[:, None].clamp(min=1e-38)
    levels = functional.get_4bit_type("nf4", device="cpu")
    scaled = flat.view(-1, BLOCK) / scales
    above = torch.bucketize(scaled, levels).clamp_(1, len(levels) - 1)
    low, high = levels[above - 1], levels[above]
    chance = torch.nn.functional.pad(noise.view(-1) / 2**16, (0, -noise.numel() % BLOCK))
    up = scaled - low > chance.view(-1, BLOCK) * (high - low)
    found = torch.where(up, high, low).mul_(scales).view(-1)[: rows.numel()]
    return found.view_as(rows).to(rows.dtype)


def scales_of(piece):
    """The scale of each block, as quantize_4bit finds it, without its slow rounding."""
    import torch

    flat = piece.reshape(-1)
    full = flat[: len(flat) // BLOCK * BLOCK].view(-1, BLOCK).abs().amax(1).float()
    rest = flat[len(flat) // BLOCK * BLOCK :].abs().float()
    return torch.cat([full, rest.amax(0, keepdim=True).clamp(min=1e-38)]) if len(rest) else full


def step_of(step: int, columns: int, source: Stored) -> int:
    """At least `step` rows, and so many that they are whole blocks; columns may be any."""
    block = max(BLOCK, source.state["blocksize"]) if isinstance(source, Packed) else BLOCK
    while step * columns % block:
        step += 1
    return step


def packed_size(count: int) -> int:
    """Bytes that a weight of so many numbers takes at most: 4.125 bits each with their scales, and
    2 KB for maps of 16 and 256 numbers and for the header."""
    return count * 33 // 64 + 2048


def unread(weight: Stored, blob: Stored, names: dict) -> Stored:
    """A weight whose bytes are not here, and with them its shape: as many numbers in rows of 256,
    in 16 bits."""
    height = -(-weight.count * 2 // 256)
    return replace(weight, dtype="BF16", shape=(height, 256), size=height * 256 * 2)


def packed_one(weight: Stored, blob: Stored, names: dict[str, Stored]) -> Packed:
    with open(blob.file, "rb") as file:
        file.seek(blob.start)
        try:
            state = json.loads(file.read(blob.size))
            shape, dtype = tuple(state["shape"]), CODES[state["dtype"]]
            asked = PARTS if "nested_offset" in state else PARTS[:2]
            parts = {part: names[f"{weight.name}.{part}"] for part in asked}
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{blob} in {blob.file} is not understood: {error}") from None
    count = math.prod(shape)
    if weight.size * 2 != count:
        raise UserError(f"{weight} in {weight.file} does not hold {list(shape)} numbers in 4 bits.")
    size = count * (4 if dtype == "F32" else 2)
    return Packed(weight.name, dtype, shape, weight.file, weight.start, size, state, parts)


def unpacked(tensors: list[Stored], expand: Callable = packed_one) -> list[Stored]:
    """A checkpoint's tensors with its 4-bit weights and their parts made Packed ones, in order; or
    what `expand` (packed_one, which reads the file, or unread) makes of them."""
    names = {tensor.name: tensor for tensor in tensors}
    found = {name.partition(STATE)[0]: tensor for name, tensor in names.items() if STATE in name}
    belongs = {f"{weight}.{part}" for weight in found for part in PARTS}
    kept = [t for t in tensors if t.name not in belongs and STATE not in t.name]
    return [expand(t, found[t.name], names) if t.name in found else t for t in kept]


def stored_rows(weight: Packed, read: Callable) -> Callable:
    """The function `rows(first, last)` of a weight stored in 4 bits; `read(start, count)` gives
    bytes of its file."""
    import torch
    from bitsandbytes import functional

    parts = {name: load(part) for name, part in weight.parts.items()}
    state = functional.QuantState.from_dict(parts | weight.state, device=torch.device("cpu"))
    scales, columns, block = state.absmax, weight.shape[1], state.blocksize
    if state.nested:
        scales = functional.dequantize_blockwise(scales, state.state2).add_(state.offset)
        state.nested = False

    def rows(first: int, last: int):
        start, count = first * columns // 2, (last - first) * columns // 2
        packed = torch.frombuffer(read(weight.start + start, count), dtype=torch.uint8)
        state.absmax = scales[first * columns // block : -(-last * columns // block)]
        state.shape = last - first, columns
        return functional.dequantize_4bit(packed.view(-1, 1), state)

    return rows
