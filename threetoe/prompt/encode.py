"""Text becomes tokens, input_ids and labels: one string a conversation, one tokenizer for all."""

from collections.abc import Iterator
from typing import NamedTuple

from threetoe.messages import IGNORED
from threetoe.prompt.pieces import CUT, Piece
from threetoe.prompt.tokenizer import encode_texts, splits_apart


class Encoded(NamedTuple):
    input_ids: list[int]
    labels: list[int]
    full_length: int  # in tokens, before truncation


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
    """The index of the first token that begins at or after a character position: one that takes
    the white space behind it along may cover the position, and begins before it."""
    for place in range(position, len(text)):
        token = encoding.char_to_token(place)
        if token is not None and encoding.token_to_chars(token)[0] >= position:
            return token
    return len(encoding.ids)


def encode(
    conversations: list[list[Piece]], tokenizer, max_length: int, learn_all: bool = False
) -> list[Encoded]:
    batch = Batch(conversations, tokenizer, splits_apart(tokenizer))
    return list(batch.rows(batch.run(), max_length, learn_all))


def prompt_ids(pieces: list[Piece], tokenizer) -> list[int]:
    """The ids a model is asked with."""
    return encode_texts([text_of(pieces)[0]], tokenizer)[0]


def stop_ids(end: str, tokenizer) -> list[int]:
    """The ids at which generation stops: the last token of an answer's end, and EOS."""
    ids = [encode_texts([end], tokenizer)[0][-1], tokenizer.eos_token_id]
    return list(dict.fromkeys(ids))
