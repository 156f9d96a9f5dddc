"""A GGUF of a model that says sentences of given words: what comes next follows from the last
token alone, so llama.cpp writes sense without any training."""

import gguf
import numpy as np
from gguf_made import WIDTH, add_tokenizer, shapes

SURE = 40.0  # logits between what is said and what is not


def write_scripted(path, tokenizer, kind: str, chat_template: str, steps: list[list[int]]) -> None:
    """Write a model that says one id of each step in turn, and begins anew behind every other id.

    Ids of a step are equally likely, and belong to no other step. A step is a state, a place of the
    residual stream; the layer adds nothing.
    """
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(8192)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(WIDTH)
    writer.add_head_count(1)
    writer.add_layer_norm_rms_eps(1e-5)
    add_tokenizer(writer, tokenizer, kind)
    writer.add_chat_template(chat_template)
    for name, values in weights(len(tokenizer), steps).items():
        writer.add_tensor(f"{name}.weight", values.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


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
