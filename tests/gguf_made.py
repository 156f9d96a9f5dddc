"""A GGUF of a random one-layer llama, as small as llama.cpp loads, with a tokenizer of ours."""

import json
import re

import gguf
import numpy as np

WIDTH = 32  # of every layer; llama.cpp wants a multiple of 32
PRE = {"llama3": "llama-bpe", "qwen": "qwen2", "gpt2": "gpt-2"}  # llama.cpp's names of the rules


def write_gguf(path, tokenizer, kind: str, chat_template: str, weights: dict | None = None) -> None:
    """Write a model that can be asked; without weights of its own not for anything sensible."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(8192)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(WIDTH)
    writer.add_head_count(1)
    writer.add_layer_norm_rms_eps(1e-5)
    add_tokenizer(writer, tokenizer, kind)
    writer.add_chat_template(chat_template)
    for name, values in (weights or random_weights(len(tokenizer))).items():
        writer.add_tensor(f"{name}.weight", values.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def add_tokenizer(writer, tokenizer, kind: str) -> None:
    """The vocabulary as llama.cpp's converter writes it: byte-level BPE, or Llama 2's kind, whose
    merges are scores there."""
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    tokens = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    writer.add_tokenizer_model("gpt2" if kind in PRE else "llama")
    writer.add_tokenizer_pre(PRE.get(kind, "default"))
    writer.add_token_list(tokens)
    writer.add_token_types([type_of(token, special, kind) for token in tokens])
    if kind in PRE:
        writer.add_token_merges([" ".join(pair) for pair in merges])
    else:
        ranks = {"".join(pair): rank for rank, pair in enumerate(merges)}
        writer.add_token_scores([-float(ranks.get(token, 10_000)) for token in tokens])
        writer.add_unk_token_id(tokenizer.unk_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    if tokenizer.bos_token_id is not None:
        writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_add_bos_token(tokenizer("").input_ids[:1] == [tokenizer.bos_token_id])


def type_of(token: str, special: set, kind: str) -> gguf.TokenType:
    if token == "<unk>":
        return gguf.TokenType.UNKNOWN
    if token in special:
        return gguf.TokenType.CONTROL
    is_byte = kind not in PRE and re.fullmatch("<0x..>", token)
    return gguf.TokenType.BYTE if is_byte else gguf.TokenType.NORMAL


def random_weights(vocabulary: int) -> dict:
    random = np.random.default_rng(0)
    return {name: random.normal(0, 0.02, shape) for name, shape in shapes(vocabulary).items()}


def shapes(vocabulary: int) -> dict[str, tuple]:
    """Tensor names and their shapes; llama.cpp ties the output to the embeddings."""
    square = (WIDTH, WIDTH)
    names = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    return {
        "token_embd": (vocabulary, WIDTH),
        "output_norm": (WIDTH,),
        "blk.0.attn_norm": (WIDTH,),
        "blk.0.ffn_norm": (WIDTH,),
        **{f"blk.0.{name}": square for name in names},
    }
