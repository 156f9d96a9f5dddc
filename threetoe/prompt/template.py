"""A prompt template: a conversation becomes pieces (text, learned).

A template is data (templates/*.yaml). What is learned is known by construction: the text
before {content} in the assistant's role is the cue and is not learned; the content and its
end token are; what follows is not. Nothing searches for markers.

Two things make the ids the same in training, in inference and in apply_chat_template. CUT, a
character that Unicode reserves for internal use, marks where an answer starts; the tokenizer
splits there and drops it (see encode.with_cuts), so no token spans cue and answer. And where
a user's text spells a special token, a CUT inside it keeps it text.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import click

from threetoe.machine.terminal import visible

CUT = "\ufdd1"
SLOT = re.compile(r"\{(\w+)\}")
ANSWER = re.compile(r"(.*?)\{learn\}(.*?)\{content\}(.*?)\{eos\}.*", re.DOTALL)


class Piece(NamedTuple):
    text: str
    learned: bool


class Marks(NamedTuple):
    """A tokenizer's share of a prompt: its special tokens as text."""

    bos: str  # "" when the tokenizer puts none in front of a text
    eos: str
    special: tuple  # every special token, for keeping a user's text apart from them


@dataclass(frozen=True)
class Template:
    """The fields of a template's YAML file; `system` is the default system text."""

    name: str
    description: str
    roles: dict
    system: str = ""
    system_with_input: str = ""
    eos: str = ""
    stop: tuple = ()
    special_tokens: tuple = ()  # what of its texts wants to be one token each

    @property
    def cue(self) -> str:
        """What the model reads last before it answers."""
        return ANSWER.fullmatch(self.roles["assistant"])[1]

    @property
    def lead(self) -> str:
        """Learned text in front of every answer: what stands between {learn} and {content}."""
        return ANSWER.fullmatch(self.roles["assistant"])[2]

    @property
    def trail(self) -> str:
        """Learned text behind every answer: what stands between {content} and {eos}."""
        return ANSWER.fullmatch(self.roles["assistant"])[3]

    @property
    def holds_system(self) -> bool:
        """Whether the system text stands inside the first question, not before it."""
        return "{system}" in self.roles["user"]

    def end(self, marks: Marks) -> str:
        """The text that ends an answer: the template's own token where the tokenizer has it,
        otherwise that text and the tokenizer's EOS after it."""
        if not self.eos or self.eos == marks.eos:
            return marks.eos
        return self.eos if self.eos in marks.special else self.eos + marks.eos

    def stops(self, marks: Marks) -> list[str]:
        """Strings that end an answer and are not printed."""
        own = [self.eos] if self.eos and self.eos not in marks.special else []
        return own + list(self.stop)

    def pieces(self, messages: list[dict], marks: Marks) -> list[Piece]:
        """The training text of a conversation; neighbours of the same mask are joined."""
        pieces, system = [(marks.bos, False)], []
        for message in self.with_system(messages):
            turn = self.render(message, marks, system)
            if message["role"] == "system" and self.holds_system:
                system = turn
                continue
            pieces += turn
            system = [] if message["role"] == "user" else system
        return joined(pieces)

    def prompt(self, messages: list[dict], marks: Marks) -> list[Piece]:
        """The text a model is asked with: the conversation, then the assistant's cue."""
        return joined([*self.pieces(messages, marks), (self.cue, False)])

    def with_system(self, messages: list[dict]) -> list[dict]:
        """The conversation with the default system text, unless it brings its own.

        An empty system message means none at all.
        """
        if messages and messages[0]["role"] == "system":
            return messages if messages[0]["content"] else messages[1:]
        with_input = bool(messages and messages[0].get("input"))
        text = self.system_with_input if with_input else self.system
        return [{"role": "system", "content": text}, *messages] if text else messages

    def render(self, message: dict, marks: Marks, system: list[tuple]) -> list[tuple]:
        """One turn as (text, learned); `system` is what {system} stands for."""
        role = "user_with_input" if message.get("input") else message["role"]
        is_learned = message.get("weight") != 0
        marked = {"bos": marks.bos, "eos": self.end(marks), "learn": "" if is_learned else CUT}
        pieces, learned = [], False
        for text, slot in slots_of(self.roles[role]):
            pieces.append((text, learned))
            if slot == "system":
                pieces += system
            elif slot:
                learned |= slot == "learn" and is_learned
                value = marked[slot] if slot in marked else shielded(message[slot], marks)
                pieces.append((value, learned))
                learned &= slot != "eos"
        return pieces


def hash_of(fields: dict) -> str:
    """The hash of a template of either kind, of its fields as they are stored in a run."""
    text = json.dumps(fields, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def from_dict(values: dict) -> Template:
    lists = {name: tuple(values.get(name) or ()) for name in ("stop", "special_tokens")}
    return Template(**{**values, **lists})


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
