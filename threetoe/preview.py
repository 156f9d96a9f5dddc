"""Shows rows as the model will see them: the learned part in colour, or in ⟦brackets⟧."""

import os
import sys
from itertools import groupby, islice

import click

from threetoe.encode import IGNORED, Encoded, encode, trimmed
from threetoe.prepare import Prepared, Prompting
from threetoe.template import CUT, Piece


def in_colour() -> bool:
    """Whether standard output shows colours: a terminal, and NO_COLOR (no-color.org) is not set."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def show_first(prepared: Prepared, prompting: Prompting, count: int) -> str:
    """The first rows that are learned, to be printed."""
    wanted = set(prepared.numbers[:count].tolist())
    first = islice(prepared.conversations, max(wanted) + 1)
    found = [c for number, c in enumerate(first) if number in wanted]
    rows = prepared.dataset()[: len(found)]
    colour, shown = in_colour(), []
    for number, conversation in enumerate(found):
        ids, labels = rows["input_ids"][number], rows["labels"][number]
        if isinstance(conversation.messages, dict):
            pieces = spelt(ids, labels, prompting.tokenizer)
            full = len(conversation.messages["input_ids"])
        else:
            pieces = trimmed(prompting.pieces(conversation))
            full = encode([pieces], prompting.tokenizer, len(ids), False)[0].full_length
        shown.append(show_row(conversation.where, pieces, Encoded(ids, labels, full), colour))
    return "\n\n".join(shown)


def spelt(ids: list[int], labels: list[int], tokenizer) -> list[Piece]:
    """The text of ready ids, by what is learned of it."""
    pairs = zip(ids, labels, strict=True)
    return [
        Piece(tokenizer.decode([token for token, _ in run]), learned)
        for learned, run in groupby(pairs, lambda pair: pair[1] != IGNORED)
    ]


def show_row(where: str, pieces: list[Piece], encoded: Encoded, colour: bool) -> str:
    tokens = len(encoded.input_ids)
    learned = sum(label != IGNORED for label in encoded.labels)
    head = f"── {where}: {tokens} tokens, {learned} learned"
    if encoded.full_length > tokens:
        head += f", cut from {encoded.full_length}"
    return f"{head}\n{show_pieces(pieces, colour)}"


def show_pieces(pieces: list[Piece], colour: bool) -> str:
    """The pieces' text; what is learned is green, or bracketed where there is no colour."""
    text = ""
    for piece in pieces:
        shown = piece.text.replace(CUT, "")
        if piece.learned:
            shown = click.style(shown, fg="green", bold=True) if colour else f"⟦{shown}⟧"
        text += shown
    return text
