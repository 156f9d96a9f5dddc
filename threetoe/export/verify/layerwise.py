"""A checkpoint as plain transformers runs it, one part at a time.

The model is made of transformers' own modules without numbers, and each decoder layer, the
embeddings and the head are filled from the safetensors files when they are called and emptied
behind; so a model takes the memory of its largest part. With a CUDA GPU the parts are filled there.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from threetoe.backend.model import NO_CODE
from threetoe.export.verify.weights import Weights, device

HEAD, TABLE = "lm_head.weight", "model.embed_tokens.weight"
WRAPPERS = ("base_layer", "original_module", "token_adapter")


def load_hollow(folder: Path, weights: Weights, rows: int = 0):
    """The model of a folder without numbers; None when its files name tensors in another way than
    its modules do, so that only transformers can load it."""
    from accelerate import init_empty_weights
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(folder, **NO_CODE)
    config.vocab_size = max(rows, config.vocab_size)
    with init_empty_weights(include_buffers=False):
        model = AutoModelForCausalLM.from_config(config, dtype="float32")
    model.tie_weights()
    names = {name for name, _ in model.named_parameters()}
    return hollowed(model.eval()) if names <= weights.names() | {HEAD} <= names | {HEAD} else None


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


def parts_of(module, name: str = "") -> Iterator[tuple[str, object]]:
    """(name, module) of each decoder layer, and of everything that stands beside the layers and has
    weights."""
    from torch.nn import ModuleList

    for key, child in module.named_children():
        place = f"{name}{key}"
        if isinstance(child, ModuleList):
            yield from ((f"{place}.{number}.", layer) for number, layer in enumerate(child))
        elif any(isinstance(inner, ModuleList) for inner in child.modules()):
            yield from parts_of(child, place + ".")
        elif any(True for _ in child.parameters()):
            yield place + ".", child


def base_name(name: str) -> str:
    """The checkpoint's name of a parameter that PEFT may have wrapped."""
    parts = name.removeprefix("base_model.model.").split(".")
    if "modules_to_save" in parts:
        place = parts.index("modules_to_save")
        del parts[place : place + 2]
    return ".".join(part for part in parts if part not in WRAPPERS)


def fill_as_called(model, weights: Weights, call: Callable):
    """From now on each part of a model is filled, where it is hollow, for the time of its call,
    which is call(forward, name, part, args, kwargs). The device on which the model is then run."""
    hollow = any(hasattr(parameter, "hollow") for parameter in model.parameters())
    place = device() if hollow else "cpu"
    for tensor in (*model.parameters(), *model.buffers()):
        if not hasattr(tensor, "hollow"):
            tensor.data = tensor.data.to(place)
    for name, part in parts_of(model):
        part.forward = partial(filled, part.forward, name, part, weights, place, call)
    return place


def filled(forward, name: str, part, weights: Weights, device, call: Callable, *args, **kwargs):
    emptied = fill(name, part, weights, device)
    try:
        return call(forward, name, part, args, kwargs)
    finally:
        for module, key, parameter in emptied:
            module._parameters[key] = parameter


def fill(name: str, part, weights: Weights, device) -> list:
    """Gives a part its numbers; (module, key, parameter) of what was there before."""
    from torch.nn import Parameter

    found = []
    for inner, module in list(part.named_modules()):
        for key, parameter in list(module._parameters.items()):
            if hasattr(parameter, "hollow"):
                place = base_name(f"{name}{inner}.{key}" if inner else name + key)
                weight = weights.read(place if place in weights.stored else TABLE, device)
                found.append((module, key, parameter))
                made = Parameter(grown(weight, parameter.shape), requires_grad=False)
                module._parameters[key] = made
    return found


def grown(weight, shape):
    """The weight with rows of zeros behind, up to the shape: rows of new tokens come with the
    adapter."""
    if weight.shape == shape:
        return weight
    larger = weight.new_zeros(shape)
    larger[: len(weight)] = weight
    return larger
