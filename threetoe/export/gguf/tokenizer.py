"""A tokenizer in a GGUF file: its kind as llama.cpp names it, tokens, merges, ids and stops.

llama.cpp has the splitting rules of byte-level tokenizers built in, under a name each. Its
converter finds the name by a hash of a text's ids; here the rules themselves are compared, which
also knows a tokenizer with another vocabulary. What is not among them is refused, never guessed.
"""

import json
import re
from pathlib import Path

from threetoe.errors import UserError
from threetoe.machine.records import read_json
from threetoe.prompt.pieces import CUT
from threetoe.prompt.tokenizer import steps_of

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
DIGITS = "each digit"

# The steps of a byte-level tokenizer, and whether a whole word that is a token is taken without
# looking at merges; llama.cpp's names of them.
RULES = {
    ((LLAMA3,), True): "llama-bpe",
    ((LLAMA3,), False): "smaug-bpe",  # in llama.cpp the same rules with merges
    ((LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}"),), False): "qwen2",
    ((GPT2,), False): "gpt-2",
    ((DIGITS, GPT2), False): "smollm",
    ((TEKKEN,), False): "tekken",
    ((TEKKEN,), True): "tekken",
}
BYTE = re.compile(r"<0x[0-9A-F]{2}>")


def check_tokenizer(folder: Path) -> None:
    """UserError when llama.cpp does not know how the tokenizer in a folder splits text."""
    kind_of(read_json(folder / "tokenizer.json"))


def kind_of(state: dict) -> tuple[str, str]:
    """llama.cpp's names of the tokenizer's model and of its splitting rules, from the content of
    its tokenizer.json."""
    model = state["model"]
    if model["type"] != "BPE":
        raise UserError(f"--gguf: {model['type']} tokenizers are not written to GGUF files here.")
    if model.get("byte_fallback") and "<0x0A>" in model["vocab"]:
        return "llama", "default"
    steps = rules_of(state)
    whole = bool(model.get("ignore_merges"))
    if (tuple(steps), whole) not in RULES or normalizer(state) not in (None, "NFC"):
        raise UserError(
            "--gguf: llama.cpp's name of this tokenizer's splitting rules is not known, so it "
            f"would read other tokens than were trained: {' then '.join(steps) or 'no rule'}"
            f"{', normalised by ' + normalizer(state) if normalizer(state) else ''}."
        )
    return "gpt2", RULES[tuple(steps), whole]


def normalizer(state: dict) -> str | None:
    found = state["normalizer"]
    return found["type"] if found and found.get("normalizers", True) else None


def rules_of(state: dict) -> list[str]:
    """The splitting rules in order, as regular expressions; CUTs, which are ours, left out."""
    found = []
    for step in steps_of(state["pre_tokenizer"] or {"type": "none"}):
        kind, pattern = step["type"], step.get("pattern", {})
        if kind == "Split" and pattern.get("String") == CUT:
            continue
        if kind == "Split" and "Regex" in pattern and step["behavior"] == "Isolated":
            found.append(pattern["Regex"])
        elif kind == "Digits" and step["individual_digits"]:
            found.append(DIGITS)
        elif kind == "ByteLevel" and not step["add_prefix_space"]:
            found += [GPT2] if step["use_regex"] else []
        else:
            found.append(kind)
    return found


def add_tokenizer(writer, tokenizer, run, rows: int) -> None:
    """Give a GGUFWriter a tokenizer with `rows` tokens, and the run's stop ids; UserError when
    the tokenizer has more tokens than the model has rows."""
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    model, rules = kind_of(state)
    if len(tokenizer) > rows:
        raise UserError(
            f"--gguf: the tokenizer has {len(tokenizer)} tokens and the model {rows} rows; train "
            "with --new-tokens add, which gives every token a row."
        )
    tokens = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    tokens += [None] * (rows - len(tokens))
    writer.add_tokenizer_model(model)
    writer.add_tokenizer_pre(rules)
    # As llama.cpp's converter fills the rows that no token stands for.
    writer.add_token_list([token or f"[PAD{n}]" for n, token in enumerate(tokens)])
    writer.add_token_types(types_of(tokens, tokenizer, run.the_marks().special, model))
    merges = [m.split(" ") if isinstance(m, str) else m for m in state["model"]["merges"]]
    if model == "gpt2":
        writer.add_token_merges([" ".join(pair) for pair in merges])
    else:
        writer.add_token_scores(scores_of(tokens, merges))
        writer.add_add_space_prefix(puts_space(state))
    add_ids(writer, tokenizer, run.stop_ids)


def types_of(tokens: list, tokenizer, special, model: str) -> list[int]:
    from gguf import TokenType

    added = {token.content for token in tokenizer.added_tokens_decoder.values()}
    types = []
    for token in tokens:
        if token is None:
            found = TokenType.UNUSED
        elif token == tokenizer.unk_token and model == "llama":
            found = TokenType.UNKNOWN
        elif token in special:
            found = TokenType.CONTROL
        elif token in added:
            found = TokenType.USER_DEFINED
        else:
            is_byte = model == "llama" and BYTE.fullmatch(token)
            found = TokenType.BYTE if is_byte else TokenType.NORMAL
        types.append(found)
    return types


def scores_of(tokens: list, merges: list) -> list[float]:
    """What makes llama.cpp, which knows no merges here, merge in their order."""
    ranks: dict[str, int] = {}
    for rank, pair in enumerate(merges):
        ranks.setdefault("".join(pair), rank)
    return [-float(ranks.get(token, len(merges))) for token in tokens]


def puts_space(state: dict) -> bool:
    """Whether a space is put in front of every text, after special tokens too."""
    steps = [state["normalizer"] or {}, state["pre_tokenizer"] or {}]
    steps += [s for step in steps for s in step.get("normalizers", step.get("pretokenizers", []))]
    return any(
        step.get("type") == "Prepend" or step.get("prepend_scheme") == "always" for step in steps
    )


def add_ids(writer, tokenizer, stops: list[int]) -> None:
    """The ids of special tokens; the end of an answer, where it is not EOS, as end of turn."""
    for name in ("bos", "eos", "unk", "pad"):
        found = getattr(tokenizer, f"{name}_token_id")
        if found is not None:
            getattr(writer, f"add_{name}_token_id")(found)
    for stop in stops:
        if stop != tokenizer.eos_token_id:
            writer.add_eot_token_id(stop)
            break
    ids = tokenizer("a").input_ids
    writer.add_add_bos_token(ids[0] == tokenizer.bos_token_id)
    writer.add_add_eos_token(ids[-1] == tokenizer.eos_token_id)
