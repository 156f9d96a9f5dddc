"""What a prompt is made of: pieces (text, learned), a tokenizer's marks, slots, and the CUT.

Two things make the ids the same in training, in inference and in apply_chat_template. CUT, a
character that Unicode reserves for internal use, marks where an answer starts; the tokenizer
splits there and drops it (see tokenizer.with_cuts), so no token spans cue and answer. And where
a user's text spells a special token, a CUT inside it keeps it text.
"""

import re
from functools import cache
from typing import NamedTuple

import click

from threetoe.machine.terminal import visible

CUT = "\ufdd1"
SLOT = re.compile(r"\{(\w+)\}")


class Piece(NamedTuple):
    text: str
    learned: bool


class Marks(NamedTuple):
    """A tokenizer's share of a prompt: its special tokens as text."""

    bos: str  # "" when the tokenizer puts none in front of a text
    eos: str
    special: tuple  # every special token, for keeping a user's text apart from them
    swallowing: tuple = ()  # those that take the white space behind them along, as Phi-3's do

    def swallowed(self, text: str) -> str:
        """The text without the white space that its special tokens take along."""
        tokens = "|".join(map(re.escape, self.swallowing))
        return re.sub(rf"({tokens})\s+", r"\1", text) if tokens else text


def joined(pieces: list[tuple]) -> list[Piece]:
    """The pieces without empty ones, neighbours of the same mask as one piece."""
    result, whole, mask = [], "", False
    for text, learned in pieces:
        if learned == mask:
            whole += text
        elif text:
            if whole:
                result.append(Piece(whole, mask))
            whole, mask = text, learned
    return [*result, Piece(whole, mask)] if whole else result


@cache
def slots_of(text: str) -> list[tuple[str, str | None]]:
    """'a{content}b' -> [('a', 'content'), ('b', None)]"""
    parts = SLOT.split(text)
    return list(zip(parts[::2], [*parts[1::2], None], strict=True))


@cache
def look_alikes(special: tuple) -> list[str]:
    """What a user's text must not spell: the special tokens, numbered families as one stem."""
    stems = {token: re.sub(r"\d.*$", "", token) for token in special}
    return sorted({stem if len(stem) > 1 else token for token, stem in stems.items()})


def shielded(text: str, marks: Marks) -> str:
    """A user's text with a CUT in everything that spells a special token."""
    for token in look_alikes(marks.special):
        text = text.replace(token, token[0] + CUT + token[1:])
    return text


def show_pieces(pieces: list[Piece], colour: bool) -> str:
    """The pieces' text; what is learned is green, or bracketed where there is no colour."""
    text = ""
    for piece in pieces:
        shown = visible(piece.text.replace(CUT, ""))
        if piece.learned:
            shown = click.style(shown, fg="green", bold=True) if colour else f"⟦{shown}⟧"
        text += shown
    return text
