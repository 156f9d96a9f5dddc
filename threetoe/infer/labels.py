"""An answer out of given labels: each is read behind the prompt, and has a probability.

P(label | prompt) is the product over the label's tokens, its end among them, of what the model
gives each behind those before it, divided by the sum over all labels. A label that begins another
one therefore competes with it fairly, and the answer does not hang on the first token alone.
"""

import math
import random
from collections.abc import Iterator

from threetoe.backend.generate import being_asked
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
    """Yields (index of a prompt, the probability of each label), shortest prompt first."""
    at_once = max(config.batch_size // len(labels), 1)
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    for start in range(0, len(order), at_once):
        indices = order[start : start + at_once]
        rows = [(prompts[index], label) for index in indices for label in labels]
        scores = []
        for first in range(0, len(rows), config.batch_size):
            scores += log_likelihoods(
                model, tokenizer, rows[first : first + config.batch_size], config
            )
        for place, index in enumerate(indices):
            yield index, softmax(scores[place * len(labels) : (place + 1) * len(labels)])


def log_likelihoods(model, tokenizer, rows: list[tuple], config) -> list[float]:
    """log P(label | prompt) of (prompt, label) rows, read in one pass and in fp32."""
    import torch

    tokenizer.padding_side = "right"  # what stands behind a row is not seen by it
    batch = tokenizer.pad({"input_ids": [p + label for p, label in rows]}, return_tensors="pt")
    width = batch["input_ids"].shape[1]
    kept = width - min(len(prompt) for prompt, _ in rows) + 1  # positions that are needed
    if width > model.config.max_position_embeddings:
        raise UserError(
            f"A question with its label has {width} tokens; the model reads "
            f"{model.config.max_position_embeddings}."
        )
    with being_asked(model, config, len(rows)):
        read = model(**batch.to(model.device), logits_to_keep=kept, use_cache=False)
    found = []
    for logits, (prompt, label) in zip(read.logits, rows, strict=True):
        begin = len(prompt) - 1 - (width - kept)
        scores = logits[begin : begin + len(label)].float().log_softmax(-1)
        ids = torch.tensor(label, device=scores.device)
        found.append(scores.gather(1, ids[:, None]).sum().item())
    return found


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
