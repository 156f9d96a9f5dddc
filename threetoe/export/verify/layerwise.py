"""A checkpoint as plain transformers runs it, one layer at a time.

The model is made of transformers' own modules without numbers, and each decoder layer, the
embeddings and the head are filled from the safetensors files when they are called and emptied
behind; so a model takes the memory of its largest part.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from threetoe.export.verify.weights import Weights

HEAD, TABLE = "lm_head.weight", "model.embed_tokens.weight"


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
