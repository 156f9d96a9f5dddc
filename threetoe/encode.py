"""Pieces become input_ids and labels: one string a conversation, one tokenizer for all."""

import re
import statistics
import unicodedata
from typing import NamedTuple

from threetoe.errors import UserError
from threetoe.template import CUT, Marks, Piece, Template

# Tokens that frame turns, which some tokenizers do not flag as special; not <think>, which is
# for answers to write.
LOOKS_SPECIAL = re.compile(r"<[|｜][^<>]*[|｜]>|<(?:start|end)_of_\w+>|\[/?INST\]")
IGNORED = -100  # the label that no loss is computed on, PyTorch's cross_entropy default


class Encoded(NamedTuple):
    input_ids: list[int]
    labels: list[int]
    full_length: int  # in tokens, before truncation


def with_cuts(tokenizer):
    """The tokenizer, made to split at every CUT and to drop it; saved and loaded with it."""
    from tokenizers import pre_tokenizers

    backend = tokenizer.backend_tokenizer
    own = backend.pre_tokenizer
    if own is not None and CUT.encode("unicode_escape") in escaped_state(own):
        return tokenizer
    cut = pre_tokenizers.Split(CUT, "removed")
    backend.pre_tokenizer = cut if own is None else pre_tokenizers.Sequence([cut, own])
    return tokenizer


def escaped_state(pre_tokenizer) -> bytes:
    """A pre-tokenizer's JSON with every non-ASCII character escaped."""
    return pre_tokenizer.__getstate__().decode("utf-8").encode("unicode_escape")


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
    )


def splits_after_cue(tokenizer, template: Template) -> bool:
    """Whether the tokenizer itself splits between a template's cue and any answer that starts
    with neither space nor line break, so that earlier answers need no CUT in the chat template.

    Tried with three characters of each of Unicode's categories; a tokenizer without a
    pre-tokenizer of its own may merge anything, so it never counts.
    """
    own = escaped_state(tokenizer.backend_tokenizer.pre_tokenizer)
    if own.count(b'"type"') < 2:
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


def text_of(pieces: list[Piece]) -> tuple[str, list[tuple[int, int]]]:
    """The string to tokenise, with a CUT before every learned piece, and the learned spans."""
    text, spans = "", []
    for piece in pieces:
        if piece.learned:
            text += CUT
            spans.append((len(text), len(text) + len(piece.text)))
        text += piece.text
    return text, spans


def encode(
    conversations: list[list[Piece]], tokenizer, max_length: int, learn_all: bool = False
) -> list[Encoded]:
    """Ids and labels of conversations, cut to `max_length` tokens.

    Text after the last learned piece is left out: there is nothing to learn from it.
    """
    trimmed = [pieces[:-1] if not pieces[-1].learned else pieces for pieces in conversations]
    texts, spans = zip(*map(text_of, trimmed), strict=True) if trimmed else ((), ())
    encodings = tokenizer.backend_tokenizer.encode_batch(list(texts), add_special_tokens=False)
    return [
        labelled(encoding, text, learned, max_length, learn_all)
        for encoding, text, learned in zip(encodings, texts, spans, strict=True)
    ]


def labelled(encoding, text: str, spans, max_length: int, learn_all: bool) -> Encoded:
    ids = encoding.ids
    labels = list(ids) if learn_all else [IGNORED] * len(ids)
    for start, end in spans:
        first = token_at(encoding, text, start)
        last = token_at(encoding, text, end)
        labels[first:last] = ids[first:last]
    return Encoded(ids[:max_length], labels[:max_length], len(ids))


def token_at(encoding, text: str, position: int) -> int:
    """The index of the first token that begins at or after a character position."""
    for place in range(position, len(text)):
        token = encoding.char_to_token(place)
        if token is not None:
            return token
    return len(encoding.ids)


def prompt_ids(pieces: list[Piece], tokenizer) -> list[int]:
    """The ids a model is asked with."""
    return encode_texts([text_of(pieces)[0]], tokenizer)[0]


def stop_ids(end: str, tokenizer) -> list[int]:
    """The ids at which generation stops: the last token of an answer's end, and EOS."""
    ids = [encode_texts([end], tokenizer)[0][-1], tokenizer.eos_token_id]
    return list(dict.fromkeys(ids))


def statistics_of(rows: list[Encoded]) -> dict:
    """Row lengths in tokens after truncation, and the share of tokens that is learned."""
    lengths = sorted(len(row.input_ids) for row in rows)
    learned = sum(label != IGNORED for row in rows for label in row.labels)
    return {
        "tokens": sum(lengths),
        "learned_tokens": learned,
        "longest": lengths[-1],
        "median": int(statistics.median(lengths)),
        "p95": lengths[min(len(lengths) - 1, int(len(lengths) * 0.95))],
    }
