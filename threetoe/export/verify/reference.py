"""The logits that are compared: of base + adapter by PEFT on plain transformers, of the base alone,
and of what was exported."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from threetoe.backend.adapter import rows_of_adapter
from threetoe.export.verify import weights as plain
from threetoe.export.verify.layerwise import fill_as_called, load_hollow
from threetoe.export.verify.progress import Progress
from threetoe.run.probes import ANSWERED, LONGEST, Prompt

COMPARED = 32  # positions at the end of each prompt and answer


def logits_of_run(
    base: Path, adapter: Path, as_nf4: Callable, sequences: list, look: Callable, progress: Progress
) -> tuple:
    """Of base + adapter and of the base alone, each weight read and expanded once: every part is
    called for both in turn. look(name, part) is then told each part, with its weights in it."""
    from peft import PeftModel

    weights, rows = plain.Weights(base, as_nf4), rows_of_adapter(adapter)
    model = load_hollow(base, weights, rows) or plain.load_whole(base, weights, rows)
    model = PeftModel.from_pretrained(model, adapter, low_cpu_mem_usage=True).eval()
    for parameter in model.parameters():  # what an adapter brings whole may have 16 bits
        parameter.data = parameter.data.float()
    call = partial(twice, model.base_model, look, 2 * len(sequences), progress)
    return run(model, sequences * 2, fill_as_called(model, weights, call)).chunk(2)


def twice(model, look, rows: int, progress: Progress, forward, name: str, part, args, kwargs):
    """What a part makes of the first half of a batch of so many rows, and with the adapter off of
    the second."""
    with_adapter = forward(*half(args, 0, rows), **half(kwargs, 0, rows))
    model.disable_adapter_layers()
    without = forward(*half(args, 1, rows), **half(kwargs, 1, rows))
    model.enable_adapter_layers()
    look(name, part)
    progress.passed(2 * numbers_in(part))
    return joined(with_adapter, without)


def half(value, which: int, rows: int):
    """One half of every batch in a value; what is one for all rows stays."""
    import torch

    if isinstance(value, tuple | list):
        return type(value)(half(one, which, rows) for one in value)
    if isinstance(value, dict):
        return {name: half(one, which, rows) for name, one in value.items()}
    is_batch = isinstance(value, torch.Tensor) and value.shape[:1] == (rows,)
    return value.chunk(2)[which] if is_batch else value


def joined(one, other):
    import torch

    if isinstance(one, tuple):
        return tuple(map(joined, one, other))
    return torch.cat([one, other]) if isinstance(one, torch.Tensor) else one


def logits_of(folder: Path, sequences: list, progress: Progress):
    """Of an exported checkpoint."""
    weights = plain.Weights(folder)
    model = load_hollow(folder, weights) or in_fp32(plain.load_whole(folder))
    return run(model, sequences, fill_as_called(model, weights, partial(once, progress)))


def once(progress: Progress, forward: Callable, name: str, part, args, kwargs):
    made = forward(*args, **kwargs)
    progress.passed(numbers_in(part))
    return made


def numbers_in(part) -> int:
    return sum(parameter.numel() for parameter in part.parameters())


def in_fp32(model):
    """The model; where it has 4-bit layers, with what these stand for, as bitsandbytes' own
    layers do not compute in fp32 on a CPU."""
    return model.dequantize().float() if getattr(model, "is_loaded_in_4bit", False) else model


def sequences_of(prompts: list[Prompt]) -> list[list[int]]:
    """The ids that are compared: prompts, each with the beginning of the data's own answer."""
    whole = [prompt.messages and len(prompt.ids) <= LONGEST for prompt in prompts]
    return [
        prompt.ids[:LONGEST] + (prompt.answer[:ANSWERED] if fits else [])
        for prompt, fits in zip(prompts, whole, strict=True)
    ]


def run(model, sequences: list, device="cpu"):
    """The logits of the last positions of each, (positions, vocabulary) in fp32 on the CPU."""
    import torch

    width = max(map(len, sequences))
    ids = torch.tensor([[0] * (width - len(row)) + row for row in sequences])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in sequences])
    places = (mask.cumsum(1) - 1).clamp(min=0)
    given = {"input_ids": ids, "attention_mask": mask, "position_ids": places}
    given = {name: tensor.to(device) for name, tensor in given.items()}
    logits = model(**given, use_cache=False, logits_to_keep=COMPARED).logits.float().cpu()
    return logits[mask[:, -logits.shape[1] :].bool()]
