"""Shows rows as the model will see them: the learned part in colour, or in ⟦brackets⟧."""

import os
import sys
from itertools import groupby, islice

import click

from threetoe.encode import IGNORED, Encoded, text_of, trimmed
from threetoe.prepare import Prompting
from threetoe.row_sets import RowSets
from threetoe.template import CUT, Piece


def in_colour() -> bool:
    """Whether standard output shows colours: a terminal, and NO_COLOR (no-color.org) is not set."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def show_first(sets: RowSets, prompting: Prompting, count: int) -> str:
    """The first rows that are trained, to be printed."""
    wanted = set(sets.training.numbers[sets.trained[:count]].tolist())
    first = islice(sets.training.conversations, max(wanted) + 1)
    found = [c for number, c in enumerate(first) if number in wanted]
    rows = sets.to_train()[: len(found)]
    colour, shown = in_colour(), []
    for number, conversation in enumerate(found):
        ids, labels = rows["input_ids"][number], rows["labels"][number]
        if isinstance(conversation.messages, dict):
            pieces = spelt(ids, labels, prompting.tokenizer)
            full = len(conversation.messages["input_ids"])
        else:
            whole = trimmed(prompting.pieces(conversation))
            pieces, full = fitting(whole, prompting.tokenizer, len(ids))
        shown.append(show_row(conversation.where, pieces, Encoded(ids, labels, full), colour))
    return "\n\n".join(shown)


def fitting(pieces: list[Piece], tokenizer, room: int) -> tuple[list[Piece], int]:
    """The pieces as far as `room` tokens go, and how many tokens all of them are."""
    text, _ = text_of(pieces)
    encoding = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False)
    if len(encoding.ids) <= room:
        return pieces, len(encoding.ids)
    left, shown = encoding.offsets[room - 1][1], []
    for piece in pieces:
        left -= len(CUT) if piece.learned else 0
        shown.append(piece._replace(text=piece.text[: max(left, 0)]))
        left -= len(piece.text)
    return [piece for piece in shown if piece.text], len(encoding.ids)


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
