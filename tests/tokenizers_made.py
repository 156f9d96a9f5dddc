"""Small tokenizers of the real kinds: Llama 3, Qwen, GPT-2, Llama 2; and the tiny model's own.

CLASSES are those whose tokenizer_config.json names a class of its own, as a base's folder holds
them: transformers 5 builds their steps in that class, and not from tokenizer.json.
"""

import json
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers.trainers import BpeTrainer
from transformers import (
    AddedToken,
    AutoTokenizer,
    GemmaTokenizer,
    GPT2Tokenizer,
    LlamaTokenizer,
    PreTrainedTokenizerFast,
    Qwen2Tokenizer,
)

# The splitting rules as the published tokenizer.json files of these models state them.
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
LINES = [
    "### Instruction:\nSay hello to the world.\n\n### Response:\nHello, world!\n\n",
    "Below is an instruction that describes a task, paired with an input.\n",
    "下面是一条描述任务的指令。请写出恰当的回答。\n### 指令:\n### 输入:\n### 回答:\n",
    "<|im_start|>user\nIt's 100% {certain}: 12345.  \n\n\n",
] * 3


def byte_level(rule: str | None, special: list[str], bos: str | None, **tokens):
    """A byte-level BPE tokenizer; `rule` None is GPT-2's own, `bos` is put in front of texts."""
    tokenizer = Tokenizer(models.BPE())
    steps = [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=rule is None)]
    if rule:
        steps.insert(0, pre_tokenizers.Split(Regex(rule), "isolated"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = BpeTrainer(vocab_size=600, initial_alphabet=alphabet, special_tokens=special)
    tokenizer.train_from_iterator(LINES, trainer)
    return finished(tokenizer, bos, **tokens)


def sentencepiece_like():
    """Llama 2's kind: spaces are marked, nothing is split beforehand, unknown bytes fall back."""
    special = ["<unk>", "<s>", "</s>"]
    alphabet = [f"<0x{byte:02X}>" for byte in range(256)]
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    trainer = BpeTrainer(vocab_size=700, special_tokens=special + alphabet)
    tokenizer.train_from_iterator(LINES, trainer)
    return finished(without_added_bytes(tokenizer), "<s>", eos_token="</s>", unk_token="<unk>")


def without_added_bytes(tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer with its byte tokens in the vocabulary alone, as in real models."""
    state = json.loads(tokenizer.to_str())
    state["added_tokens"] = [t for t in state["added_tokens"] if not t["content"].startswith("<0x")]
    return Tokenizer.from_str(json.dumps(state))


def finished(tokenizer: Tokenizer, bos: str | None, **tokens):
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A",
            pair=f"{bos} $A $B",
            special_tokens=[(bos, tokenizer.token_to_id(bos))],
        )
        tokens["bos_token"] = bos
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **tokens)


def llama3():
    special = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>"]
    special += ["<|eot_id|>", *(f"<|reserved_special_token_{n}|>" for n in range(12))]
    return byte_level(LLAMA3, special, "<|begin_of_text|>", eos_token="<|end_of_text|>")


def qwen():
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    return byte_level(QWEN, special, None, eos_token="<|im_end|>", pad_token="<|endoftext|>")


def gpt2():
    return byte_level(None, ["<|endoftext|>"], None, eos_token="<|endoftext|>")


def tiny():
    return AutoTokenizer.from_pretrained(Path(__file__).parent.parent / "models" / "tiny")


KINDS = {"tiny": tiny, "llama3": llama3, "qwen": qwen, "gpt2": gpt2, "llama2": sentencepiece_like}


def learned(sample, special: list[str]) -> dict:
    """Vocabulary and merges of a tokenizer's steps, learned from LINES, special tokens first."""
    backend = sample.backend_tokenizer
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)] if backend.model.byte_fallback else []
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = BpeTrainer(
        vocab_size=700, special_tokens=special + bytes_,
        initial_alphabet=[] if bytes_ else alphabet,
    )  # fmt: skip
    if isinstance(backend.pre_tokenizer, pre_tokenizers.Metaspace):  # as sentencepiece splits
        backend.pre_tokenizer = pre_tokenizers.Metaspace(split=True)
    backend.train_from_iterator(LINES, trainer)
    model = json.loads(backend.to_str())["model"]
    return {"vocab": model["vocab"], "merges": [tuple(pair) for pair in model["merges"]]}


def llama_class(*more):
    special = ["<unk>", "<s>", "</s>"]
    tokenizer = LlamaTokenizer(**learned(LlamaTokenizer(), special), add_bos_token=True)
    tokenizer.add_tokens(list(more))
    return tokenizer


def gemma_class():
    turns = ["<start_of_turn>", "<end_of_turn>"]
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *turns]
    tokenizer = GemmaTokenizer(**learned(GemmaTokenizer(), special), add_bos_token=True)
    tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in turns])
    return tokenizer


def qwen2_class():
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = Qwen2Tokenizer(**learned(Qwen2Tokenizer(), special), eos_token="<|im_end|>")
    tokenizer.add_tokens([AddedToken("<|im_start|>", special=True, normalized=False)])
    return tokenizer


def gpt2_class():
    return GPT2Tokenizer(**learned(GPT2Tokenizer(), ["<|endoftext|>"]))


def phi3_class():
    """Llama 2's kind, a space put in front by its normaliser, with tokens that take the white space
    behind them along."""
    tokenizer = sentencepiece_like()
    names = ("<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
    tokens = [AddedToken(n, special=True, normalized=False, rstrip=True) for n in names]
    tokenizer.add_tokens([*tokens, AddedToken("</s>", normalized=False, rstrip=True)])
    return tokenizer


def mistral_class():
    """Llama 2's kind as Mistral has it, whose cue ends in a token."""
    marks = (AddedToken(mark, special=True, normalized=False) for mark in ("[INST]", "[/INST]"))
    return llama_class(*marks)


CLASSES = {  # name: (tokenizer, model_type of config.json, more of tokenizer_config.json)
    "LlamaTokenizer": (llama_class, "llama", {"legacy": False}),
    "LlamaTokenizer, legacy": (mistral_class, "llama", {"legacy": True}),
    "GemmaTokenizer": (gemma_class, "gemma", {}),
    "Qwen2Tokenizer": (qwen2_class, "qwen2", {}),
    "Qwen2Tokenizer of Qwen 3": (qwen2_class, "qwen3", {}),
    "GPT2Tokenizer": (gpt2_class, "gpt2", {}),
    "Phi 3's": (phi3_class, "phi3", {"tokenizer_class": "LlamaTokenizer", "legacy": False}),
}


def write_base(name: str, folder: Path) -> None:
    """The tokenizer and config.json of a base whose tokenizer has a class of its own."""
    make, model_type, more = CLASSES[name]
    make().save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    values = json.loads(path.read_text(encoding="utf-8")) | more
    path.write_text(json.dumps(values), encoding="utf-8")
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}), encoding="utf-8")
