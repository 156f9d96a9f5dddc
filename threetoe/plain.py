"""A checkpoint as plain transformers runs it, without unsloth: whole, or one layer at a time.

One layer at a time, the model is made of transformers' own modules without numbers, and each
decoder layer, the embeddings and the head are filled from the safetensors files when they are
called and emptied behind; so a model takes the memory of its largest part. All in fp32, in which
16-bit weights are exact: what two of them differ in is their weights.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from threetoe.errors import UserError
from threetoe.nf4 import STATE
from threetoe.room import available_memory
from threetoe.shards import list_checkpoint

FP32 = 4  # bytes
MARGIN = 3 * 10**9  # bytes for activations, logits and the libraries themselves
HEAD, TABLE = "lm_head.weight", "model.embed_tokens.weight"


class Weights:
    """The tensors of a checkpoint by name; 4-bit ones are expanded, by bitsandbytes. `as_nf4(name)`
    says whether training used a 16-bit weight quantised to NF4."""

    def __init__(self, folder: Path, as_nf4: Callable = lambda name: False):
        self.stored = {tensor.name: tensor for tensor in list_checkpoint(folder)}
        self.as_nf4 = as_nf4
        self.packed = {name.split(STATE)[0]: name for name in self.stored if STATE in name}

    def read(self, name: str):
        """A tensor in fp32."""
        weight = self.expanded(name) if name in self.packed else self.as_stored(name)
        return (through_nf4(weight) if self.as_nf4(name) else weight).float()

    def as_stored(self, name: str):
        from safetensors import safe_open

        with safe_open(self.stored[name].file, "pt") as file:
            return file.get_tensor(name)

    def expanded(self, name: str):
        from bitsandbytes import functional

        parts = {key: self.as_stored(key) for key in self.stored if key.startswith(name + ".")}
        state = functional.QuantState.from_dict(parts, device="cpu")
        return functional.dequantize_4bit(self.as_stored(name), state)

    def size(self) -> int:
        """Bytes of the whole in fp32; of a packed weight a byte stands for two numbers."""
        numbers = (t.count * (2 if t.name in self.packed else 1) for t in self.stored.values())
        return sum(numbers) * FP32


def through_nf4(weight):
    """A weight in fp32, fp16 or bf16, rounded to NF4 as loading with load_in_4bit rounds it; the
    same shape and type."""
    from bitsandbytes import functional

    packed, state = functional.quantize_4bit(
        weight.contiguous(), blocksize=64, compress_statistics=True, quant_type="nf4"
    )
    return functional.dequantize_4bit(packed, state)


def has_room(size: int, memory: int | None) -> bool:
    """Whether a model of this many bytes fits into that much memory, or else what is free."""
    available = available_memory() if memory is None else memory
    return available is None or size + MARGIN < available


def load_whole(folder: Path, weights: Weights | None = None, rows: int = 0, **options):
    """The model of a folder as from_pretrained makes it, with what training used in place of
    its `weights`; `rows` makes its embeddings larger.

    UserError when the files and the model do not have the same tensors.
    """
    import torch
    from transformers import AutoModelForCausalLM

    model, found = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, output_loading_info=True, **options
    )
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if names := sorted(map(str, found.get(kind, ()))):
            more = f" and {len(names) - 1} more" if names[1:] else ""
            raise UserError(f"{kind.replace('_', ' ')}: {names[0]}{more}")
    if weights:
        for name, parameter in model.named_parameters():
            if weights.as_nf4(name):
                parameter.data = weights.read(name)
    if rows and rows > model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(rows, mean_resizing=False)
    return model.eval()


def load_hollow(folder: Path, weights: Weights, rows: int = 0):
    """The model of a folder without numbers; None when its files name tensors in another way than
    its modules do, so that only transformers can load it."""
    from accelerate import init_empty_weights
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(folder)
    if rows:
        config.vocab_size = rows
    with init_empty_weights(include_buffers=False):
        model = AutoModelForCausalLM.from_config(config, dtype="float32")
    model.tie_weights()
    names = {name for name, _ in model.named_parameters()}
    return hollowed(model.eval()) if names <= weights.stored.keys() | {HEAD} else None


def hollowed(model):
    """The model with one zero, seen from everywhere, for each parameter: unlike one on the device
    `meta` it draws PEFT's adapters to the CPU."""
    import torch

    made: dict[int, torch.nn.Parameter] = {}  # a tied one stays tied
    for module in model.modules():
        for key, parameter in module._parameters.items():
            if parameter is not None:
                view = torch.zeros(()).expand(parameter.shape)
                new = made.setdefault(id(parameter), torch.nn.Parameter(view, requires_grad=False))
                new.hollow, module._parameters[key] = True, new
    return model


def is_hollow(model) -> bool:
    return any(hasattr(parameter, "hollow") for parameter in model.parameters())


def parts_of(module, name: str = "") -> Iterator[tuple[str, object]]:
    """(name, module) of each decoder layer, and of everything that stands beside the layers."""
    from torch.nn import ModuleList

    for key, child in module.named_children():
        place = f"{name}{key}"
        if isinstance(child, ModuleList):
            yield from ((f"{place}.{number}.", layer) for number, layer in enumerate(child))
        elif any(isinstance(inner, ModuleList) for inner in child.modules()):
            yield from parts_of(child, place + ".")
        else:
            yield place + ".", child


def base_name(name: str) -> str:
    """The checkpoint's name of a parameter that PEFT may have wrapped."""
    parts = name.removeprefix("base_model.model.").split(".")
    if "modules_to_save" in parts:
        place = parts.index("modules_to_save")
        del parts[place : place + 2]
    wrappers = ("base_layer", "original_module", "token_adapter")
    return ".".join(part for part in parts if part not in wrappers)


def fill_as_called(model, weights: Weights, rounding: Callable | None = None) -> list:
    """Handles of hooks that fill each part of a hollow model for the time of its call."""
    handles = []
    for name, part in parts_of(model):
        filled: list = []
        before = partial(fill, name, weights, rounding, filled)
        handles.append(part.register_forward_pre_hook(before))
        handles.append(part.register_forward_hook(partial(empty, filled)))
    return handles


def fill(name: str, weights: Weights, rounding, filled: list, part, given) -> None:
    from torch.nn import Parameter

    for inner, module in list(part.named_modules()):
        for key, parameter in list(module._parameters.items()):
            if hasattr(parameter, "hollow"):
                place = base_name(f"{name}{inner}.{key}" if inner else name + key)
                weight = weights.read(place if place in weights.stored else TABLE)
                filled.append((module, key, parameter))
                made = Parameter(grown(weight, parameter.shape), requires_grad=False)
                module._parameters[key] = made
    if rounding:
        merge_and_round(part, name, rounding)


def grown(weight, shape):
    """The weight with rows of zeros behind, up to the shape: rows of new tokens come with the
    adapter."""
    if weight.shape == shape:
        return weight
    larger = weight.new_zeros(shape)
    larger[: len(weight)] = weight
    return larger


def empty(filled: list, part, given, output) -> None:
    while filled:
        module, key, parameter = filled.pop()
        module._parameters[key] = parameter


def merge_and_round(module, name: str, rounding: Callable) -> None:
    """PEFT's own merge inside a module, in fp32, and then each weight rounded: `rounding(name)` is
    None or a function from a weight to what the export's type makes of it."""
    import torch
    from peft.tuners.tuners_utils import BaseTunerLayer

    for layer in list(module.modules()):
        if isinstance(layer, BaseTunerLayer):
            layer.merge()
    with torch.no_grad():
        for inner, parameter in module.named_parameters():
            if change := rounding(base_name(name + inner)):
                parameter.data = change(parameter.data)


@contextmanager
def filled(model, weights: Weights, rounding: Callable | None = None):
    """A model that can be called: hollow parts are filled for it; with `rounding`, base and
    adapter are merged and rounded, which a whole model keeps."""
    if not is_hollow(model):
        if rounding:
            merge_and_round(model, "", rounding)
        yield model
        return
    handles = fill_as_called(model, weights, rounding)
    try:
        yield model
    finally:
        for handle in handles:
            handle.remove()
        gc.collect()
