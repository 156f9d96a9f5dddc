"""A small random model of a base's kind, for --rehearse: what runs on it runs on the base."""

from math import lcm
from pathlib import Path

from threetoe.backend.model import NO_CODE, cannot_load, locate
from threetoe.errors import UserError
from threetoe.machine.hub import look_up
from threetoe.prompt.tokenizer import save

LAYERS, GROUPS, WIDEST = 2, 2, 512  # groups of key heads
CUT = 256, 64, 1  # what the width is a multiple of: k-quants, and NF4, cut weights into such blocks
SIZES = {"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"}


def write_small(model: str, tokenizer, folder: Path) -> str:
    """Fill a folder with such a model and the base's tokenizer; what was made, in words. Its kind,
    vocabulary, heads, RoPE, and whether embeddings are tied, are the base's."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    try:
        config = AutoConfig.from_pretrained(look_up(locate(model)), **NO_CODE)
    except (OSError, ValueError) as error:
        raise UserError(cannot_load(model, error)) from error
    text = config.get_text_config()
    if not vars(text).keys() >= SIZES:
        raise UserError(f"--rehearse: {text.model_type} has other sizes than a Llama's; leave it.")
    layers, wide = text.num_hidden_layers, text.hidden_size
    shrink(text)
    vars(config).pop("quantization_config", None)  # loading quantises, as it does a base's 16 bits
    torch.manual_seed(0)
    try:
        made = AutoModelForCausalLM.from_config(config)
    except (ValueError, RuntimeError, ImportError) as error:
        raise UserError(cannot_load(model, error)) from error
    made.to(torch.bfloat16 if config.dtype in (None, torch.bfloat16) else config.dtype)
    made.save_pretrained(folder)
    save(tokenizer, folder)
    return (
        f"{text.model_type} with {text.num_hidden_layers} of {layers} layers, {text.hidden_size} "
        f"of {wide} wide, its weights random"
    )


def shrink(config) -> None:
    """Make a configuration that of a small model, as many query heads to a key head as before."""
    layers, heads = config.num_hidden_layers, config.num_attention_heads
    keys = getattr(config, "num_key_value_heads", None) or heads
    head = getattr(config, "head_dim", None) or config.hidden_size // heads
    for name, value in vars(config).items():
        if isinstance(value, list) and len(value) == layers:  # of each layer its kind
            setattr(config, name, value[:LAYERS])
    config.num_hidden_layers = min(LAYERS, layers)
    config.num_key_value_heads = min(GROUPS, keys)
    config.num_attention_heads = config.num_key_value_heads * (heads // keys)
    wide = next(w for w in (lcm(n, config.num_attention_heads) for n in CUT) if w <= WIDEST)
    inner = wide * config.intermediate_size // config.hidden_size
    config.intermediate_size = max(1, inner // CUT[0]) * CUT[0]
    config.head_dim, config.hidden_size = head, wide
