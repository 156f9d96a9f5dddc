"""Pieces become input_ids and labels: one string a conversation, one tokenizer for all."""

import json
import re
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

from threetoe.errors import UserError
from threetoe.messages import IGNORED
from threetoe.prompt.template import CUT, Marks, Piece, Template

# Tokens that frame turns, which some tokenizers do not flag as special; not <think>, which is
# for answers to write.
LOOKS_SPECIAL = re.compile(r"<[|｜][^<>]*[|｜]>|<(?:start|end)_of_\w+>|\[/?INST\]")


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
    if not template.cue:
        return False  # an earlier answer follows a user's text, which may end in anything
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


def splits_apart(tokenizer) -> bool:
    """Whether the pieces of a conversation may be tokenised one by one: every piece ends in a
    special token or at a CUT, so nothing but a prefix, a normaliser or a token that takes the
    white space beside it could make a difference. Byte-level BPE (Llama 3, Qwen) has none."""
    backend = tokenizer.backend_tokenizer
    if backend.normalizer is not None or backend.pre_tokenizer is None:
        return False
    kinds = {state["type"]: state for state in states_of(backend.pre_tokenizer)}
    if kinds.keys() - {"Split", "ByteLevel", "Digits"} or "ByteLevel" not in kinds:
        return False
    added = tokenizer.added_tokens_decoder.values()
    return not kinds["ByteLevel"]["add_prefix_space"] and not any(
        token.lstrip or token.rstrip or token.single_word for token in added
    )


def states_of(pre_tokenizer) -> list[dict]:
    state = json.loads(pre_tokenizer.__getstate__())
    return state["pretokenizers"] if state["type"] == "Sequence" else [state]


class Batch:
    """Conversations for the tokenizer: `run` does its work, on all cores and outside Python's
    lock; `rows` gives ids and labels."""

    def __init__(self, conversations: list[list[Piece]], tokenizer, apart: bool):
        backend, self.apart = tokenizer.backend_tokenizer, apart
        self.parts = [trimmed(pieces) for pieces in conversations]
        if apart:
            self.encode = backend.encode_batch_fast  # without offsets
            self.texts = [piece.text for pieces in self.parts for piece in pieces]
        else:
            self.encode = backend.encode_batch
            self.parts = [text_of(pieces) for pieces in self.parts]
            self.texts = [text for text, _ in self.parts]

    def run(self) -> list:
        return self.encode(self.texts, add_special_tokens=False)

    def rows(self, encodings: list, max_length: int, learn_all: bool) -> Iterator[Encoded]:
        """Ids and labels of the conversations, cut to `max_length` tokens."""
        given = iter(encodings)
        for part in self.parts:
            found = joined_ids(part, given) if self.apart else labelled(next(given), *part)
            ids, labels = found
            labels = ids if learn_all else labels
            yield Encoded(ids[:max_length], labels[:max_length], len(ids))


def joined_ids(pieces: list[Piece], encodings: Iterator) -> tuple[list[int], list[int]]:
    ids, labels = [], []
    for piece in pieces:
        own = next(encodings).ids
        ids += own
        labels += own if piece.learned else [IGNORED] * len(own)
    return ids, labels


def labelled(encoding, text: str, spans: list[tuple]) -> tuple[list[int], list[int]]:
    ids = encoding.ids
    labels = [IGNORED] * len(ids)
    for start, end in spans:
        first = token_at(encoding, text, start)
        last = token_at(encoding, text, end)
        labels[first:last] = ids[first:last]
    return ids, labels


def trimmed(pieces: list[Piece]) -> list[Piece]:
    """The pieces up to the last learned one: there is nothing to learn from what follows."""
    return pieces if pieces[-1].learned else pieces[:-1]


def text_of(pieces: list[Piece]) -> tuple[str, list[tuple[int, int]]]:
    """The string to tokenise, with a CUT before every learned piece, and the learned spans."""
    text, spans = "", []
    for piece in pieces:
        if piece.learned:
            text += CUT
            spans.append((len(text), len(text) + len(piece.text)))
        text += piece.text
    return text, spans


def token_at(encoding, text: str, position: int) -> int:
    """The index of the first token that begins at or after a character position."""
    for place in range(position, len(text)):
        token = encoding.char_to_token(place)
        if token is not None:
            return token
    return len(encoding.ids)


def encode(
    conversations: list[list[Piece]], tokenizer, max_length: int, learn_all: bool = False
) -> list[Encoded]:
    """Ids and labels of conversations, cut to `max_length` tokens."""
    batch = Batch(conversations, tokenizer, splits_apart(tokenizer))
    return list(batch.rows(batch.run(), max_length, learn_all))


def prompt_ids(pieces: list[Piece], tokenizer) -> list[int]:
    """The ids a model is asked with."""
    return encode_texts([text_of(pieces)[0]], tokenizer)[0]


def stop_ids(end: str, tokenizer) -> list[int]:
    """The ids at which generation stops: the last token of an answer's end, and EOS."""
    ids = [encode_texts([end], tokenizer)[0][-1], tokenizer.eos_token_id]
    return list(dict.fromkeys(ids))
