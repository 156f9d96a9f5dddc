"""A GGUF of a model that says sentences of given words: what comes next follows from the last
token alone, so llama.cpp writes sense without any training."""

import numpy as np
from gguf_made import WIDTH, shapes, write_gguf

SURE = 40.0  # logits between what is said and what is not


def write_scripted(path, tokenizer, kind: str, chat_template: str, steps: list[list[int]]) -> None:
    """Write a model that says one id of each step in turn, and begins anew behind every other id.

    Ids of a step are equally likely, and belong to no other step. A step is a state, a place of the
    residual stream; the layer adds nothing.
    """
    write_gguf(path, tokenizer, kind, chat_template, weights(len(tokenizer), steps))


def weights(vocabulary: int, steps: list[list[int]]) -> dict:
    found = {name: np.zeros(shape) for name, shape in shapes(vocabulary).items()}
    found["output_norm"] += 1
    found["output"] = np.zeros((vocabulary, WIDTH))
    found["token_embd"][:, 0] = 1  # the state before the first step
    for state, ids in enumerate(steps):
        found["output"][ids, state] = SURE / WIDTH**0.5  # the norm makes a state's 1 this long
        if state + 1 < len(steps):
            found["token_embd"][ids] = np.eye(WIDTH)[state + 1]
    return found
