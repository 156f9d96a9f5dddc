"""Shows rows as the model will see them: the learned part in colour, or in ⟦brackets⟧."""

import os
import sys

import click

from threetoe.encode import IGNORED, Encoded
from threetoe.template import CUT, Piece


def in_colour() -> bool:
    """Whether standard output shows colours: a terminal, and NO_COLOR (no-color.org) is not set."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def show_rows(rows: list[tuple[str, list[Piece], Encoded]], colour: bool) -> str:
    """The text of (where, pieces, encoded) rows, to be printed."""
    return "\n\n".join(show_row(*row, colour) for row in rows)


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
