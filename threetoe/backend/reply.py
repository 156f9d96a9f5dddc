"""An answer's text while its ids arrive: whole characters, and nothing of what ends it.

What is shown is never taken back, so text waits while it may still be the beginning of a stop
string, the template's text around an answer, or half a character.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

from threetoe.prompt.tokenizer import encode_texts

BYTE = re.compile(r"<0x[0-9A-F]{2}>")  # a token of SentencePiece that is one byte


class Frame(NamedTuple):
    """What surrounds an answer and is not shown."""

    ids: tuple = ()  # that end it
    strings: tuple = ()  # that end it
    lead: str = ""  # Template.lead
    trail: str = ""  # Template.trail


def frame_of(template, marks, stops: list[int]) -> Frame:
    """What surrounds the answers of a template; `stops` are its stop ids."""
    return Frame(tuple(stops), tuple(template.stops(marks)), template.lead, template.trail)


class Reply:
    """One answer: `add` its ids one by one, then `finish`; `text` is what it says so far.

    `show`, when there is one, is given each new part of the text. Pieces depend neither on how
    ids split the text nor on when they arrive: together they are `text`.
    """

    def __init__(self, tokenizer, frame: Frame, show: Callable | None = None):
        self.backend = tokenizer.backend_tokenizer
        self.frame, self.show = frame, show
        self.anchor = encode_texts(["a"], tokenizer)[0]  # a decoder may drop a text's first space
        marks = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
        self.ends = {*frame.ids, *(i for i in marks if self.token(i) in frame.strings)}
        self.silent = marks
        self.begin()

    def begin(self) -> None:
        """Nothing has come yet; or what came is dropped, to be asked again."""
        self.waiting: list[int] = []  # ids whose text may change with the next id
        self.decoded = ""  # of all other ids
        self.text, self.ended = "", False
        self.cut = 0  # the tokens after which it was cut; 0 for one that ended by itself

    def add(self, token: int) -> None:
        """Take the next id; one that comes after the end is ignored."""
        if self.ended:
            return
        if token in self.ends:
            self.finish()
        elif token not in self.silent:
            self.waiting.append(token)
            self.advance()

    def finish(self) -> None:
        """No more ids: what waited is text after all."""
        self.decoded += self.decode(self.waiting)
        self.ended = True
        self.say(framed(self.decoded, self.frame))

    def close(self, tokens: int) -> None:
        """So many tokens were all that it may have: if nothing has ended it, it is cut."""
        if not self.ended:
            self.cut = tokens
            self.finish()

    def advance(self) -> None:
        new = self.decode(self.waiting)
        place = ending(self.decoded + new, self.frame.strings)
        if place is not None:
            self.decoded, self.ended = (self.decoded + new)[:place], True
            self.say(framed(self.decoded, self.frame))
        elif not new.endswith("\ufffd") and not BYTE.fullmatch(self.token(self.waiting[-1])):
            self.decoded, self.waiting = self.decoded + new, []
            self.say(certain(self.decoded, self.frame))

    def say(self, text: str) -> None:
        new, self.text = text[len(self.text) :], text
        if new and self.show:
            self.show(new)

    def decode(self, ids: list[int]) -> str:
        known = len(self.backend.decode(self.anchor))
        return self.backend.decode(self.anchor + ids)[known:]

    def token(self, token: int) -> str:
        return self.backend.id_to_token(token) or ""  # a model may have rows without a token


def ending(text: str, strings) -> int | None:
    """Where the stop string starts that is complete first; of two complete at once, the longer."""
    found = [(place + len(s), place) for s in strings if (place := text.find(s)) >= 0]
    return min(found)[1] if found else None


def framed(text: str, frame: Frame) -> str:
    """A whole answer without the template's text around it."""
    return text.removeprefix(frame.lead).removesuffix(frame.trail)


def certain(text: str, frame: Frame) -> str:
    """The part of an unfinished answer that is shown whatever comes next."""
    tails = [frame.trail, *frame.strings, *(frame.trail + string for string in frame.strings)]
    held = max((overlap(text, tail) for tail in tails), default=0)
    safe = text[: len(text) - held]
    undecided = frame.lead.startswith(safe) and safe != frame.lead
    return "" if undecided else safe.removeprefix(frame.lead)


def overlap(text: str, tail: str) -> int:
    """How many characters at the end of `text` may be the beginning of `tail`."""
    lengths = range(min(len(text), len(tail)), 0, -1)
    return next((n for n in lengths if text.endswith(tail[:n])), 0)


class Listener:
    """A stopping criterion of transformers: hands each row's new id to its Reply, and stops the
    rows whose Reply has ended. Strings are compared with text, so tokens may split them anyhow."""

    def __init__(self, replies: list[Reply]):
        self.replies = replies

    def __call__(self, input_ids, scores, **kwargs):
        import torch

        for reply, token in zip(self.replies, input_ids[:, -1].tolist(), strict=True):
            reply.add(token)
        ended = [reply.ended for reply in self.replies]
        return torch.tensor(ended, dtype=torch.bool, device=input_ids.device)
