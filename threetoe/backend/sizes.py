"""How many numbers a base has, in which matrices: from its configuration, without its weights."""

import re
from pathlib import Path
from typing import NamedTuple

from threetoe.backend.adapter import WEIGHTS
from threetoe.backend.checkpoint import FLOATS, Stored, list_checkpoint, read_header
from threetoe.backend.model import cannot_load, locate, read_llama, read_model_config, read_sizes
from threetoe.errors import UserError

LORA = re.compile(r"base_model\.model\.(model\.layers\..+)\.lora_([AB])\.weight")


class Linear(NamedTuple):
    """One matrix of a decoder layer, which 4 bits quantise and LoRA adapts."""

    name: str  # model.layers.0.self_attn.q_proj
    inputs: int
    outputs: int


def count_parameters(model: str) -> int:
    """How many weights the model of a configuration has, counted without making them."""
    if sizes := read_llama(model):
        return count_of_llama(sizes)
    return sum(weight.numel() for weight in made_without_numbers(model).parameters())


def linears_of(model: str) -> list[Linear]:
    """The matrices of a base's layers; embeddings and head are none of them."""
    if sizes := read_llama(model):
        return linears_of_llama(sizes)
    from torch.nn import Linear as Module

    made = made_without_numbers(model)
    found = [(n, m) for n, m in made.named_modules() if isinstance(m, Module)]
    head = made.get_output_embeddings()
    return [Linear(n, m.in_features, m.out_features) for n, m in found if m is not head]


def made_without_numbers(model: str):
    """The modules that transformers makes of a configuration, on the device `meta`."""
    import torch
    from transformers import AutoModelForCausalLM

    try:
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(read_model_config(model))
    except (ValueError, ImportError) as error:
        raise UserError(cannot_load(model, error)) from error


def linears_of_llama(sizes) -> list[Linear]:
    """Queries, keys, values, output, and the three of the MLP, of each layer."""
    wide, inner, heads = sizes.hidden_size, sizes.intermediate_size, sizes.num_attention_heads
    head = getattr(sizes, "head_dim", None) or wide // heads
    asked, kept = head * heads, head * sizes.num_key_value_heads
    shapes = {
        "self_attn.q_proj": (wide, asked), "self_attn.k_proj": (wide, kept),
        "self_attn.v_proj": (wide, kept), "self_attn.o_proj": (asked, wide),
        "mlp.gate_proj": (wide, inner), "mlp.up_proj": (wide, inner),
        "mlp.down_proj": (inner, wide),
    }  # fmt: skip
    layers = range(sizes.num_hidden_layers)
    return [Linear(f"model.layers.{n}.{name}", *shapes[name]) for n in layers for name in shapes]


def count_of_embeddings(sizes) -> int:
    """The table of tokens, and the head unless it is the same."""
    return sizes.vocab_size * sizes.hidden_size * (1 if sizes.tie_word_embeddings else 2)


def count_of_llama(sizes) -> int:
    """The matrices of its layers, embeddings, and the norms: two a layer, and the last."""
    matrices = sum(matrix.inputs * matrix.outputs for matrix in linears_of_llama(sizes))
    norms = (2 * sizes.num_hidden_layers + 1) * sizes.hidden_size
    return matrices + count_of_embeddings(sizes) + norms


def check_shapes(model: str, tensors: list[Stored]) -> None:
    """UserError where a Llama's weights are not of the shapes that its config.json asks for:
    transformers would begin such a matrix at random. Those in 4 bits have other shapes."""
    sizes, stored = read_llama(model), {tensor.name: tensor for tensor in tensors}
    table = "model.embed_tokens.weight"
    if sizes is None or table not in stored:
        return
    wanted = {f"{one.name}.weight": (one.outputs, one.inputs) for one in linears_of_llama(sizes)}
    wanted[table] = (sizes.vocab_size, sizes.hidden_size)
    for name, shape in wanted.items():
        found = stored.get(name)
        if found is None or found.dtype in FLOATS and found.shape != shape:
            held = f"its weights hold {list(found.shape)}" if found else "it is not in its weights"
            raise UserError(
                f"{model}: its config.json makes {name} {list(shape)}, and {held}: the files are "
                "of different models; copy the folder anew."
            )


def check_adapter_fits(adapter: Path, model: str, named: bool) -> None:
    """UserError where an adapter changes matrices that its base has not, or has in other shapes:
    PEFT passes over what has no place. A base that is `named` is another than that of the run."""
    sizes, folder = read_sizes(model) if named else read_llama(model), Path(locate(model))
    parts = [(t, m) for t in read_header(adapter / WEIGHTS) if (m := LORA.fullmatch(t.name))]
    why = f"--model {model}: " if named else f"The base {model}: "
    if sizes and sizes.model_type == "llama":
        sides = {one.name: (one.inputs, one.outputs) for one in linears_of_llama(sizes)}
        for tensor, found in parts:
            place, side = found[1], found[2] == "B"
            wanted = sides.get(place, (0, 0))[side]
            if tensor.shape[-1 - side] != wanted:
                has = f"takes {wanted} there" if wanted else "has no such matrix"
                raise UserError(f"{why}--run {adapter} is of another base: {tensor}; this {has}.")
    elif sizes and folder.is_dir():
        names = {tensor.name.split(".")[-2] for tensor in list_checkpoint(folder)}
        changed = {found[1].split(".")[-1] for _, found in parts}
        if changed and not changed & names:
            lost = ", ".join(sorted(changed))
            raise UserError(f"{why}--run {adapter} is of another base: this has no {lost}.")
