"""A prompt template: a conversation becomes pieces (text, learned), and a Jinja chat template.

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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from threetoe.catalog import read_yaml
from threetoe.errors import UserError, did_you_mean, unknown

CUT = "\ufdd1"
SLOT = re.compile(r"\{(\w+)\}")
SLOTS = {
    "system": ["content"],
    "user": ["content"],
    "user_with_input": ["content", "input"],
    "assistant": ["content", "eos"],
}


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

    @property
    def cue(self) -> str:
        """What the model reads last before it answers."""
        return self.roles["assistant"].partition("{content}")[0]

    def hash(self) -> str:
        text = json.dumps(asdict(self), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

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
        pieces = [Piece(marks.bos, False)]
        for message in self.with_system(messages):
            pieces += self.render(message, marks)
        return joined(pieces)

    def prompt(self, messages: list[dict], marks: Marks) -> list[Piece]:
        """The text a model is asked with: the conversation, then the assistant's cue."""
        return joined([*self.pieces(messages, marks), Piece(self.cue, False)])

    def with_system(self, messages: list[dict]) -> list[dict]:
        """The conversation with the default system text, unless it brings its own.

        An empty system message means none at all.
        """
        if messages and messages[0]["role"] == "system":
            return messages if messages[0]["content"] else messages[1:]
        with_input = bool(messages and messages[0].get("input"))
        text = self.system_with_input if with_input else self.system
        return [{"role": "system", "content": text}, *messages] if text else messages

    def render(self, message: dict, marks: Marks) -> list[Piece]:
        role = "user_with_input" if message.get("input") else message["role"]
        pieces, learned = [], False
        for text, slot in slots_of(self.roles[role]):
            pieces.append(Piece(text, False))
            if slot == "eos":
                pieces.append(Piece(self.end(marks), True))
            elif slot:
                learned = role == "assistant"
                pieces.append(Piece(shielded(message[slot], marks), learned))
        return pieces


def joined(pieces: list[Piece]) -> list[Piece]:
    """The pieces without empty ones, neighbours of the same mask as one piece."""
    result: list[Piece] = []
    for text, learned in pieces:
        if result and result[-1].learned == learned:
            result[-1] = Piece(result[-1].text + text, learned)
        elif text:
            result.append(Piece(text, learned))
    return result


def slots_of(text: str) -> list[tuple[str, str | None]]:
    """'a{content}b' -> [('a', 'content'), ('b', None)]"""
    parts = SLOT.split(text)
    return list(zip(parts[::2], [*parts[1::2], None], strict=True))


def look_alikes(marks: Marks) -> list[str]:
    """What a user's text must not spell: the special tokens, numbered families as one stem."""
    stems = {token: re.sub(r"\d.*$", "", token) for token in marks.special}
    return sorted({stem if len(stem) > 1 else token for token, stem in stems.items()})


def shielded(text: str, marks: Marks) -> str:
    """A user's text with a CUT in everything that spells a special token."""
    for token in look_alikes(marks):
        text = text.replace(token, token[0] + CUT + token[1:])
    return text


def find_template(name: str, known: dict[str, Path]) -> Template:
    """The template of a name, of ###Name, or of a YAML file of one's own."""
    if name.endswith((".yaml", ".yml")):
        return read_template(Path(name))
    short = name.lstrip("# ").lower()
    if short not in known:
        raise unknown("template", name, known)
    return read_template(Path(known[short]))


def read_template(path: Path) -> Template:
    """The template in a YAML file; UserError lists everything that is wrong with it."""
    values = read_yaml(path)
    if not isinstance(values, dict):
        raise UserError(f"{path}: a template has lines such as 'description: ...' and 'roles:'.")
    problems = list(problems_of(values))
    if problems:
        raise UserError(*(f"{path}: {problem}" for problem in problems))
    roles = dict(values["roles"])
    roles.setdefault("user_with_input", roles["user"].replace("{content}", "{content}\n\n{input}"))
    values.setdefault("system_with_input", values.get("system", ""))
    return from_dict({**values, "name": path.stem, "roles": roles})


def from_dict(values: dict) -> Template:
    return Template(**{**values, "stop": tuple(values.get("stop") or ())})


def problems_of(values: dict):
    """What is wrong with a template's fields, a line each."""
    fields = [name for name in Template.__dataclass_fields__ if name != "name"]
    for key, value in values.items():
        if key not in fields:
            yield f"unknown field '{key}'.{did_you_mean(key, fields)} Known: {', '.join(fields)}."
        elif key == "stop" and not (isinstance(value, list) and all(map(is_text, value))):
            yield "'stop' is a list of texts, such as [\"### Instruction:\"]."
        elif key not in ("roles", "stop") and not isinstance(value, str):
            yield f"'{key}' is {type(value).__name__}, not text; put it in quotes."
    if "description" not in values:
        yield "'description' is missing; say in a line what the template is."
    roles = values.get("roles")
    if not isinstance(roles, dict):
        yield "'roles' is missing: one text each for system, user and assistant."
        return
    for role in ("system", "user", "assistant"):
        if role not in roles:
            yield f"roles: '{role}' is missing."
    for role, text in roles.items():
        yield from problems_of_role(role, text)


def is_text(value) -> bool:
    return isinstance(value, str) and bool(value)


def problems_of_role(role: str, text):
    if role not in SLOTS:
        yield f"roles: unknown role '{role}'.{did_you_mean(role, SLOTS)}"
        return
    if not isinstance(text, str):
        yield f"roles: '{role}' is {type(text).__name__}, not text; put it in quotes."
        return
    if "\\n" in text:
        yield f"roles: '{role}' has a backslash and an n; in YAML a line break needs double quotes."
    found = SLOT.findall(text)
    for slot in SLOTS[role]:
        if found.count(slot) != 1:
            yield f"roles: '{role}' has {{{slot}}} {found.count(slot)} times; it must stand once."
    for slot in set(found) - set(SLOTS[role]):
        hint = did_you_mean(slot, ["content", "input", "eos"])
        hint = " It belongs in 'user_with_input'." if slot == "input" else hint
        yield f"roles: '{role}' has an unknown slot {{{slot}}}.{hint}"
    if role == "assistant" and found.count("content") == found.count("eos") == 1:
        if not text.partition("{content}")[2].startswith("{eos}"):
            yield "roles: 'assistant' needs {eos} right after {content}, or answers never end."
        if re.search(r"[ \t]$", text.partition("{content}")[0]):
            yield (
                "roles: the text before {content} in 'assistant' ends in a space, which most "
                "tokenizers join to the answer's first word; end it with a line break or a mark."
            )
