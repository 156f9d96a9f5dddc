"""The weights that a 4-bit run was trained on: a 16-bit weight through NF4 and back.

NF4 with double quantisation, blocks of 64 (QLoRA, arxiv.org/abs/2305.14314), by bitsandbytes
itself, as Unsloth loads a base with load_in_4bit.
"""

import re

LAYER_WEIGHT = re.compile(r"\.layers\.\d+\..*proj\.weight$")


def as_used_in_4bit(name: str):
    """The function through which a base tensor of this name goes, or None when it stays 16-bit:
    embeddings, norms and lm_head are never quantised."""
    return through_nf4 if LAYER_WEIGHT.search(name) else None


def through_nf4(weight):
    """A weight (out, in) in fp32, fp16 or bf16, rounded to NF4; the same shape and dtype."""
    from bitsandbytes import functional

    packed, state = functional.quantize_4bit(
        weight.contiguous(), blocksize=64, compress_statistics=True, quant_type="nf4"
    )
    return functional.dequantize_4bit(packed, state)
