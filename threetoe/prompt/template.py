"""A prompt template: a conversation becomes pieces (text, learned).

A template is data (templates/*.yaml). What is learned is known by construction: the text
before {content} in the assistant's role is the cue and is not learned; the content and its
end token are; what follows is not. Nothing searches for markers.
"""

import hashlib
import json
import re
from dataclasses import dataclass

from threetoe.prompt import jinja, ollama
from threetoe.prompt.pieces import CUT, Marks, Piece, joined, shielded, slots_of
from threetoe.prompt.tokenizer import splits_after_cue

ANSWER = re.compile(r"(.*?)\{learn\}(.*?)\{content\}(.*?)\{eos\}.*", re.DOTALL)


@dataclass(frozen=True)
class Template:
    """The fields of a template's YAML file; `system` is the default system text."""

    name: str
    description: str
    roles: dict[str, str]
    system: str = ""
    system_with_input: str = ""
    eos: str = ""
    stop: tuple[str, ...] = ()
    special_tokens: tuple[str, ...] = ()  # what of its texts wants to be one token each
    trim: tuple[str, ...] = ()  # roles whose texts lose the white space around them

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

    @property
    def brings_system(self) -> bool:
        return bool(self.system)

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
                value = marked[slot] if slot in marked else self.filled(message, slot, marks)
                pieces.append((value, learned))
                learned &= slot != "eos"
        return pieces

    def filled(self, message: dict, slot: str, marks: Marks) -> str:
        text = message[slot].strip() if message["role"] in self.trim else message[slot]
        return shielded(text, marks)

    def folded(self, messages: list[dict]) -> list[dict]:
        """What a chat template without our header is given: it knows inputs as we do."""
        return messages

    def frame_tokens(self, tokens, bos: str | None) -> list[str]:
        """Which special tokens frame a turn: those it declares."""
        return list(self.special_tokens)

    def jinja(self, marks: Marks, tokenizer) -> str:
        """The chat template to save with the tokenizer."""
        return jinja.chat_template(self, marks, not splits_after_cue(tokenizer, self))

    def gguf_jinja(self, marks: Marks) -> str:
        """The chat template of a GGUF file."""
        return jinja.gguf_chat_template(self, marks)

    def modelfile(self, marks: Marks, source: str = ".") -> str:
        """The Modelfile of a model in `source`."""
        return ollama.modelfile(self, marks, source)


def hash_of(fields: dict) -> str:
    """The hash of a template of either kind, of its fields as they are stored in a run."""
    text = json.dumps(fields, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
