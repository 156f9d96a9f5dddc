"""A base's own Jinja chat template, used as any other template: --template from-tokenizer.

What is learned is found by rendering turn by turn: a conversation up to an answer's cue must
be the start of the same conversation with the answer, and with all that follows. A header in
front of the base's Jinja (from_tokenizer) puts CUTs where template.py puts them, and stands in the
chat template that is saved, so training, asking and apply_chat_template render the same text.
"""

from dataclasses import dataclass
from os.path import commonprefix

from threetoe.errors import UserError, first_line
from threetoe.machine.limits import bounded
from threetoe.machine.records import of_kind
from threetoe.prompt import ollama
from threetoe.prompt.frame import as_roles
from threetoe.prompt.jinja import without_swallowed
from threetoe.prompt.pieces import Marks, Piece, joined
from threetoe.prompt.template import Template
from threetoe.prompt.template_file import FROM_TOKENIZER as NAME
from threetoe.prompt.template_file import SLOTS, problems_of_role

PLACE = "The template in a run's record"
KNOWN_INPUT = ', input=shielded(message.input or "")'  # in the header of a Jinja that knows inputs


@dataclass(frozen=True)
class TokenizerTemplate:
    """The chat template of a base's tokenizer; it has what a Template has."""

    description: str  # which base it is of
    own: str  # the base's Jinja
    tokens: dict[str, str]  # bos_token, eos_token and the like, as the Jinja knows them
    clock: str = ""  # in front of an Jinja that asks for the date: that of the day of training
    header: str = ""
    footer: str = ""
    last: str = ""  # what ends an answer, and is learned
    after: str = ""  # what separates it from the next turn, and is not
    cue: str = ""
    lead: str = ""
    trail: str = ""
    name: str = NAME
    stop: tuple[str, ...] = ()
    special_tokens: tuple[str, ...] = ()
    brings_system = True  # or it knows none

    def end(self, marks: Marks) -> str:
        return self.last

    def stops(self, marks: Marks) -> list[str]:
        """Strings that end an answer and are not printed: text that the Jinja puts behind it."""
        return [self.trail] if self.trail.strip() else []

    def frame_tokens(self, tokens, bos: str | None) -> list[str]:
        """Which special tokens frame an answer; BOS, which every base has learned, is not meant."""
        frame = self.cue + self.last + self.after
        return [token for token in tokens if token in frame and token != bos]

    @property
    def whole(self) -> str:
        return self.header + self.own + self.footer

    def jinja(self, marks: Marks, tokenizer) -> str:
        return self.whole

    def gguf_jinja(self, marks: Marks) -> str:
        """The chat template of a GGUF file: the base's own."""
        return without_swallowed(self.clock + self.own, marks)

    def modelfile(self, marks: Marks, source: str = ".") -> str:
        """The Modelfile of a model in `source`; UserError where Go cannot say what it renders."""
        template, opening = as_roles(self, marks)
        return ollama.modelfile(template, marks, source, opening)

    def folded(self, messages: list[dict]) -> list[dict]:
        """What a chat template without our header is given: questions with their inputs."""
        return messages if KNOWN_INPUT in self.header else [with_input(m) for m in messages]

    def rendered(self, messages: list[dict], ask: bool) -> str:
        """The text of a conversation, with the next answer's cue when asking."""
        from transformers.utils.chat_template_utils import render_jinja_template

        try:
            with bounded(f"--template {NAME}: the {self.description}, asked for a prompt,"):
                texts, _ = render_jinja_template(
                    [messages], chat_template=self.whole, add_generation_prompt=ask, **self.tokens
                )
        except UserError:
            raise
        except Exception as error:  # a Jinja may fail in any way
            raise UserError(
                f"--template {NAME}: the {self.description} refuses this conversation: "
                f"{first_line(error).rstrip('.')}. Choose a named template."
            ) from error
        return texts[0]

    def pieces(self, messages: list[dict], marks: Marks) -> list[Piece]:
        """The training text of a conversation; UserError when an answer's place in it is not
        that of the same turns asked one by one."""
        return self.split(messages, self.rendered(messages, ask=False))

    def prompt(self, messages: list[dict], marks: Marks) -> list[Piece]:
        return self.split(messages, self.rendered(messages, ask=True))

    def split(self, messages: list[dict], whole: str) -> list[Piece]:
        """A conversation's rendered text, cut where its answers start and end."""
        pieces, done = [], 0
        for place, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            before = self.rendered(messages[:place], ask=True)
            until = self.rendered(messages[: place + 1], ask=False).removesuffix(self.after)
            self.check_prefix(before, until)
            self.check_prefix(until, whole)
            if not until.endswith(self.last):
                raise UserError(f"--template {NAME}: turn {place + 1} has no end: {until[-80:]!r}.")
            answer = Piece(until[len(before) :], message.get("weight") != 0)
            pieces += [Piece(whole[done : len(before)], False), answer]
            done = len(until)
        return joined([*pieces, Piece(whole[done:], False)])

    def check_prefix(self, start: str, text: str) -> None:
        if text.startswith(start):
            return
        place = len(commonprefix([start, text]))
        before, after = start[place : place + 40], text[place : place + 40]
        raise UserError(
            f"--template {NAME}: the {self.description} renders an earlier turn otherwise when "
            f"more turns follow: {before!r} becomes {after!r}. Choose a named template, or rows "
            "of one question and one answer without a system text."
        )


def with_input(message: dict) -> dict:
    """A message whose input follows its content, as HEADER has it."""
    content = message["content"] + ("\n\n" + message["input"] if message.get("input") else "")
    return {"role": message["role"], "content": content}


def of_fields(values: dict) -> Template | TokenizerTemplate:
    """The template of either kind whose fields a run has recorded."""
    if "own" in values:
        return of_kind(values, TokenizerTemplate, PLACE)
    template = of_kind(values, Template, PLACE)
    problems = [f"'{role}' is missing." for role in SLOTS.keys() - template.roles.keys()]
    problems += [problem for role in template.roles.items() for problem in problems_of_role(*role)]
    if problems:
        raise UserError(f"{PLACE} is damaged: {problems[0]}")
    return template
