"""An answer out of given labels: each is read behind the prompt, and has a probability.

P(label | prompt) is the product over the label's tokens, its end among them, of what the model
gives each behind those before it, divided by the sum over all labels. A label that begins another
one therefore competes with it fairly, and the answer does not hang on the first token alone.
"""

import math
import random
from collections.abc import Iterator
from copy import deepcopy

from threetoe.backend.generate import in_batches
from threetoe.errors import UserError
from threetoe.prompt.encode import encode
from threetoe.run.contract import ASK


def ids_of(labels: tuple, run, tokenizer) -> list[list[int]]:
    """The ids of each label as an answer, as training has them: its end with it."""
    template, marks = run.the_template(), run.the_marks()
    talks = [[ASK, {"role": "assistant", "content": label}] for label in labels]
    encoded = encode([template.pieces(talk, marks) for talk in talks], tokenizer, 10**6)
    found = [[i for i in row.labels if i >= 0] for row in encoded]
    if len(set(map(tuple, found))) < len(found):
        raise UserError(f"--constrain-to {','.join(labels)}: two labels are the same answer.")
    return found


def probabilities(model, tokenizer, prompts: list, labels: list[list[int]], config) -> Iterator:
    """Yields (index of a prompt, the probability of each label), shortest prompt first. A prompt is
    read once, and each label behind what the model has kept of it."""

    def ask(indices: list[int]) -> list[list[float]]:
        asked = [prompts[index] for index in indices]
        return [softmax(s) for s in log_likelihoods(model, tokenizer, asked, labels, config)]

    at_once = max(config.batch_size // len(labels), 1)
    yield from in_batches(model, prompts, config, at_once, ask)


def log_likelihoods(model, tokenizer, prompts: list, labels: list, config) -> list[list[float]]:
    """log P(label | prompt) of each label, in fp32, for each prompt."""
    longest = max(map(len, prompts)) + max(map(len, labels))
    if longest > model.config.max_position_embeddings:
        raise UserError(
            f"A question with its label has {longest} tokens; the model reads "
            f"{model.config.max_position_embeddings}."
        )
    batch = padded(prompts, tokenizer, "left", model.device)
    seen = batch["attention_mask"]
    places = (seen.cumsum(1) - 1).clamp(min=0)
    read = model(**batch, position_ids=places, use_cache=True, logits_to_keep=1)
    scores: list[list[float]] = [[] for _ in prompts]
    for first in range(0, len(labels), config.batch_size):
        own = labels[first : first + config.batch_size]
        found = behind(model, tokenizer, read, seen, own)
        for row, start in zip(scores, range(0, len(found), len(own)), strict=True):
            row += found[start : start + len(own)]
    return scores


def behind(model, tokenizer, read, seen, labels: list[list[int]]) -> list[float]:
    """log P of each label behind each prompt of a batch that was `read`, prompt by prompt."""
    import torch

    count = len(labels)
    batch = padded(labels * len(seen), tokenizer, "right", model.device)
    ids, mask = batch["input_ids"], batch["attention_mask"]
    before = seen.repeat_interleave(count, 0)
    logits = model(
        input_ids=ids,
        attention_mask=torch.cat([before, mask], 1),
        position_ids=before.sum(1, keepdim=True) + torch.arange(ids.shape[1], device=ids.device),
        past_key_values=repeated(read.past_key_values, count),
        use_cache=True,
    ).logits[:, :-1]
    logits = torch.cat([read.logits[:, -1:].repeat_interleave(count, 0), logits], 1)
    scores = logits.float().log_softmax(-1).gather(2, ids[..., None])[..., 0]
    return (scores * mask).sum(1).tolist()


def padded(rows: list[list[int]], tokenizer, side: str, device):
    tokenizer.padding_side = side
    return tokenizer.pad({"input_ids": rows}, return_tensors="pt").to(device)


def repeated(cache, times: int):
    """What a model has kept of a batch, each row so many times; the original stays."""
    from transformers import DynamicCache

    cache = (
        DynamicCache(cache) if isinstance(cache, tuple) else deepcopy(cache)
    )  # Unsloth's, a GPU's
    cache.batch_repeat_interleave(times)
    return cache


def softmax(scores: list[float]) -> list[float]:
    most = max(scores)
    weights = [math.exp(score - most) for score in scores]
    return [weight / sum(weights) for weight in weights]


def chosen(shares: list[float], temperature: float, chance: random.Random) -> int:
    """The likeliest of the labels; with a temperature one by chance, as its tokens would be."""
    if not temperature:
        return shares.index(max(shares))
    weights = [share ** (1 / temperature) for share in shares]
    return chance.choices(range(len(shares)), weights)[0]
