"""A tokenizer that knows the CUT: made, saved so that it stays as it is, and told from others."""

import hashlib
import json
import re
import unicodedata
from pathlib import Path

from threetoe.errors import UserError
from threetoe.machine.files import write_json
from threetoe.machine.records import read_json
from threetoe.prompt.pieces import CUT, Marks

# Tokens that frame turns, which some tokenizers do not flag as special; not <think>, which is
# for answers to write.
LOOKS_SPECIAL = re.compile(r"<[|｜][^<>]*[|｜]>|<(?:start|end)_of_\w+>|\[/?INST\]")
# Texts whose ids tell tokenizers apart: white space, line ends, digits, scripts, characters that
# are written in two ways, that are missing in most vocabularies, or that only look special.
PROBES = (
    "", " ", "  two  spaces ", "\n", "\r\n", "\n\n\n", "a\tb\n c\r\nd", "Hello", " Hello",
    "hello, WORLD's don't 1 12 123 1234567890 3.14", "def f(x):\n    return {x: [1]}  # %s\n",
    "Naïve café cafe\u0301 \u212b ﬁ", "分类以下文本的情感。今天真好！", "\u3000日本語　テキスト",
    "Привет, мир! שלום مرحبا नमस्ते", "🙂👩‍🚀🇩🇪\u200d\ufe0f", "\u00a0\u200b\ufeff\ue000\U0010fffd",
    f"a{CUT}b {CUT} c\n{CUT}\n d", "<s></s><|eot_id|> <|im_end|>\n<end_of_turn><|end|>\n x [INST]",
)  # fmt: skip


def with_cuts(tokenizer):
    """The tokenizer, made to split at every CUT and to drop it.

    One that puts a space in front of a text, also behind special tokens, puts it before a CUT that
    stands first: such a CUT is dropped before that.
    """
    from tokenizers import Regex, normalizers, pre_tokenizers

    backend = tokenizer.backend_tokenizer
    own = backend.pre_tokenizer
    if own is not None and CUT.encode("unicode_escape") in escaped_state(own):
        return tokenizer
    steps = [pre_tokenizers.Split(CUT, "removed"), own]
    if isinstance(own, pre_tokenizers.Metaspace):  # for it, what follows a CUT is a text
        steps.reverse()
    backend.pre_tokenizer = pre_tokenizers.Sequence([step for step in steps if step is not None])
    if own is None or isinstance(own, pre_tokenizers.Metaspace):
        first = [normalizers.Replace(Regex(f"^{CUT}+"), ""), backend.normalizer]
        backend.normalizer = normalizers.Sequence([step for step in first if step is not None])
    return tokenizer


def escaped_state(pre_tokenizer) -> bytes:
    """A pre-tokenizer's JSON with every non-ASCII character escaped."""
    return pre_tokenizer.__getstate__().decode("utf-8").encode("unicode_escape")


def save(tokenizer, folder: Path) -> None:
    """Write the tokenizer's files, so that transformers loads it as it is.

    transformers 5 builds the steps of a class with a name of its own (LlamaTokenizer, ...) anew and
    overlooks those in tokenizer.json, the split at the CUT among them; it saves no `legacy` either.
    PreTrainedTokenizerFast has none to build. Beside a config.json of qwen2 it takes Qwen2Tokenizer
    (known by NFC) whatever is named, and reads all of tokenizer.json only where this file has
    trust_remote_code; that runs no code, as none is named. transformers 4 reads no list by the name
    of extra_special_tokens, and 5 reads it by the old name too.
    """
    from tokenizers.normalizers import NFC

    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    values = read_json(path) | {"tokenizer_class": "PreTrainedTokenizerFast"}
    if isinstance(values.get("extra_special_tokens"), list):
        values["additional_special_tokens"] = values.pop("extra_special_tokens")
    is_qwen2 = isinstance(tokenizer.backend_tokenizer.normalizer, NFC)
    write_json(path, values | ({"trust_remote_code": True} if is_qwen2 else {}))


def fingerprint(tokenizer) -> str:
    """A hash of all tokens with their ids, and of the ids of PROBES."""
    tokens = sorted(tokenizer.get_vocab().items(), key=lambda pair: pair[1])
    ids = [tokenizer(text).input_ids for text in PROBES]
    return hashlib.sha256(json.dumps([tokens, ids]).encode()).hexdigest()[:16]


def marks_of(tokenizer) -> Marks:
    """The special tokens of a tokenizer as text; UserError when it has no EOS."""
    if tokenizer.eos_token is None:
        raise UserError(
            f"The tokenizer of {tokenizer.name_or_path} has no EOS token, so answers could not "
            "end; choose another --model."
        )
    puts_bos = tokenizer("").input_ids[:1] == [tokenizer.bos_token_id]
    added = tokenizer.added_tokens_decoder.values()
    special = {t.content for t in added if t.special or LOOKS_SPECIAL.fullmatch(t.content)}
    return Marks(
        bos=tokenizer.bos_token if puts_bos else "",
        eos=tokenizer.eos_token,
        special=tuple(sorted(special)),
        swallowing=tuple(sorted(token.content for token in added if token.rstrip)),
    )


def splits_after_cue(tokenizer, template) -> bool:
    """Whether the tokenizer itself splits between a template's cue and any answer that starts
    with neither space nor line break, so that earlier answers need no CUT in the chat template.

    Tried with three characters of each of Unicode's categories; a tokenizer that does not split
    words by a rule (Llama 2, Gemma) may merge anything, so it never counts.
    """
    if not template.cue:
        return False  # an earlier answer follows a user's text, which may end in anything
    if b'"ByteLevel"' not in escaped_state(tokenizer.backend_tokenizer.pre_tokenizer):
        return False
    answers = [template.lead + start + "a" for start in starts()]
    plain = [template.cue + answer for answer in answers]
    cut = [template.cue + CUT + answer for answer in answers]
    return encode_texts(plain, tokenizer) == encode_texts(cut, tokenizer)


def starts() -> list[str]:
    found: dict[str, list] = {}
    for code in range(0x21, 0x10000):
        character = chr(code)
        category = unicodedata.category(character)
        if category[0] not in "ZC" and len(found.setdefault(category, [])) < 3:
            found[category].append(character)
    return [c for characters in found.values() for c in characters] + ["'s", "\U0001f600"]


def encode_texts(texts: list[str], tokenizer) -> list[list[int]]:
    encodings = tokenizer.backend_tokenizer.encode_batch(texts, add_special_tokens=False)
    return [encoding.ids for encoding in encodings]


def splits_apart(tokenizer) -> bool:
    """Whether the pieces of a conversation may be tokenised one by one: every piece ends in a
    special token or at a CUT, so nothing but a prefix, a normaliser or a token that takes the
    white space beside it could make a difference. Byte-level BPE (Llama 3, Qwen) has none."""
    backend = tokenizer.backend_tokenizer
    if backend.normalizer is not None or backend.pre_tokenizer is None:
        return False
    steps = steps_of(json.loads(backend.pre_tokenizer.__getstate__()))
    kinds = {step["type"]: step for step in steps}
    if kinds.keys() - {"Split", "ByteLevel", "Digits"} or "ByteLevel" not in kinds:
        return False
    added = tokenizer.added_tokens_decoder.values()
    return not kinds["ByteLevel"]["add_prefix_space"] and not any(
        token.lstrip or token.rstrip or token.single_word for token in added
    )


def steps_of(pre_tokenizer: dict) -> list[dict]:
    """The steps of a pre-tokenizer's JSON, of sequences within it too."""
    if pre_tokenizer["type"] != "Sequence":
        return [pre_tokenizer]
    return [step for part in pre_tokenizer["pretokenizers"] for step in steps_of(part)]
