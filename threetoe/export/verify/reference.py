"""Base + adapter by PEFT on plain transformers, and what is asked of it and of an export."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

from threetoe.export.verify import layerwise as hollow
from threetoe.export.verify import weights as plain
from threetoe.prompt.new_tokens import rows_of_adapter
from threetoe.run.probes import ANSWERED, LONGEST, Prompt


class Reference:
    """Base + adapter, not merged; hollow where memory is short (layerwise)."""

    def __init__(self, base: Path, adapter: Path, as_nf4: Callable, memory: int | None):
        from peft import PeftModel

        self.weights = plain.Weights(base, as_nf4)
        rows, model = rows_of_adapter(adapter), None
        if self.weights.packed or not plain.has_room(self.weights.size(), memory):
            model = hollow.load_hollow(base, self.weights, rows)
        self.hollow = model is not None
        model = model or plain.load_whole(base, self.weights, rows)
        self.model = PeftModel.from_pretrained(model, adapter, low_cpu_mem_usage=True).eval()

    def logits(
        self, sequences: list, adapter: bool = True, rounding: Callable | None = None
    ) -> list:
        """A tensor (positions, vocabulary) for each sequence; with `rounding`, merged and rounded,
        which a whole model stays."""
        off = nullcontext() if adapter else self.model.disable_adapter()
        with off, hollow.filled(self.model, self.weights, rounding) as model:
            return run(model, sequences)

    def close(self) -> None:
        """Give the memory back, before another model takes it."""
        self.model = None

    def answers(self, prompts: list[list[int]], stops: list[int]) -> list[list[int]]:
        """The greedy answers to prompts, ANSWERED tokens at most, with the stop id."""
        ids, mask = padded(prompts, "left")
        made = self.model.generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=ANSWERED, do_sample=False,
            temperature=None, top_p=None, top_k=None, eos_token_id=stops, pad_token_id=stops[0],
        )  # fmt: skip
        return [until(row[ids.shape[1] :].tolist(), stops) for row in made]


def until(ids: list[int], stops: list[int]) -> list[int]:
    ends = [place for place, one in enumerate(ids) if one in stops]
    return ids[: ends[0] + 1] if ends else ids


def sequences_of(prompts: list[Prompt], reference: Reference, stops, found: dict) -> list:
    """The ids that are compared: prompts, each with its greedy answer; or, one layer at a time,
    with the data's own, since an answer takes the model as many times as it has tokens."""
    cut = [prompt.ids[:LONGEST] for prompt in prompts]
    whole = [i for i, prompt in enumerate(prompts) if prompt.messages and cut[i] == prompt.ids]
    answers = {i: prompts[i].answer[:ANSWERED] for i in whole}
    if whole and not reference.hollow:
        made = reference.answers([cut[i] for i in whole], stops)
        answers = dict(zip(whole, made, strict=True))
    found["answered"] = "by the data" if reference.hollow else "by base + adapter"
    return [ids + answers.get(i, []) for i, ids in enumerate(cut)]


def padded(sequences: list[list[int]], side: str):
    """(ids, attention mask) of sequences as one batch."""
    import torch

    width = max(map(len, sequences))
    rows, masks = [], []
    for ids in sequences:
        room = [0] * (width - len(ids))
        rows.append(room + ids if side == "left" else ids + room)
        mask = [1] * len(ids)
        masks.append(room + mask if side == "left" else mask + room)
    return torch.tensor(rows), torch.tensor(masks)


def run(model, sequences: list) -> list:
    ids, mask = padded(sequences, "right")
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits.float()
    return [row[: len(given)] for row, given in zip(logits, sequences, strict=True)]


def logits_of(folder: Path, sequences: list, memory: int | None) -> list:
    """The logits of an exported checkpoint, loaded as a user would where there is room for it."""
    weights = plain.Weights(folder)
    room = plain.has_room(weights.size(), memory)
    model = None if room else hollow.load_hollow(folder, weights)
    with hollow.filled(model or in_fp32(plain.load_whole(folder)), weights) as model:
        return run(model, sequences)


def in_fp32(model):
    """The model; where it has 4-bit layers, with what these stand for, as bitsandbytes' own
    layers do not compute in fp32 on a CPU."""
    return model.dequantize().float() if getattr(model, "is_loaded_in_4bit", False) else model
