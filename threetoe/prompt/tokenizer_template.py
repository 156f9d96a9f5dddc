"""A base's own Jinja chat template, used as any other template: --template from-tokenizer.

What is learned is found by rendering turn by turn: a conversation up to an answer's cue must
be the start of the same conversation with the answer, and with all that follows. A header in
front of the base's Jinja puts CUTs where template.py puts them, and stands in the chat template
that is saved, so training, asking and apply_chat_template render the same text.
"""

import json
from dataclasses import dataclass, replace
from datetime import datetime
from os.path import commonprefix

from threetoe.errors import UserError, first_line
from threetoe.prompt import ollama
from threetoe.prompt.frame import as_roles
from threetoe.prompt.jinja import cut_rule, quoted, shield, without_swallowed
from threetoe.prompt.pieces import CUT, Marks, Piece, joined
from threetoe.prompt.template import Template, from_dict
from threetoe.prompt.template_file import FROM_TOKENIZER as NAME
from threetoe.prompt.tokenizer import marks_of, splits_after_cue

HEADER = """\
{{%- macro shielded(text) -%}}{{{{- text{shield} -}}}}{{%- endmacro -%}}
{clock}
{{%- set shielded_turns = namespace(all=[]) -%}}
{{%- for message in messages -%}}
{{%- set text = shielded(message.content{with_input}) -%}}
{{%- if message.role == "assistant" -%}}
{{%- set text = text{trim} -%}}{{%- set text = {cut} ~ text -%}}
{{%- endif -%}}
{{%- set shielded_turns.all = shielded_turns.all + [dict(message, content=text{own_input})] -%}}
{{%- endfor -%}}
{{%- set messages = shielded_turns.all %}}"""
ASKED = [{"role": "user", "content": "Hello"}]
WITH_INPUT = r' ~ ("\n\n" ~ message.input if message.input else "")'
KNOWN_INPUT = ', input=shielded(message.input or "")'
# Where the base's Jinja itself writes the lead of an answer, the CUT is moved before it.
MOVE_START, MOVE_END = '{%- set text %}{{ "" }}', "{%% endset %%}{{- text | replace(%s, %s) -}}"
CLOCK = """\
{{%- macro strftime_now(format) -%}}
{{%- set kept = {dates} -%}}
{{{{- kept[format] if format in kept else raise_exception("no date was kept for " + format) -}}}}
{{%- endmacro -%}}"""


@dataclass(frozen=True)
class TokenizerTemplate:
    """The chat template of a base's tokenizer; it has what a Template has."""

    description: str  # which base it is of
    own: str  # the base's Jinja
    tokens: dict  # bos_token, eos_token and the like, as the Jinja knows them
    clock: str = ""  # in front of an Jinja that asks for the date: that of the day of training
    header: str = ""
    footer: str = ""
    last: str = ""  # what ends an answer, and is learned
    after: str = ""  # what separates it from the next turn, and is not
    cue: str = ""
    lead: str = ""
    trail: str = ""
    name: str = NAME
    stop: tuple = ()
    special_tokens: tuple = ()
    brings_system = True  # or it knows none

    def end(self, marks: Marks) -> str:
        """The text that ends an answer."""
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
        """The chat template to save with the tokenizer."""
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
        from jinja2 import TemplateError
        from transformers.utils.chat_template_utils import render_jinja_template

        try:
            texts, _ = render_jinja_template(
                [messages], chat_template=self.whole, add_generation_prompt=ask, **self.tokens
            )
        except (TemplateError, TypeError, ValueError) as error:
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
        """The text a model is asked with."""
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
            is_learned = message.get("weight") != 0
            answer = Piece(until[len(before) :], is_learned)
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


def from_tokenizer(tokenizer, marks: Marks, model: str) -> TokenizerTemplate:
    """The template of a tokenizer's own chat template; UserError when it has none, or one whose
    answers have no end."""
    if not tokenizer.chat_template:
        raise UserError(
            f"--template {NAME}: the tokenizer of {model} has no chat template; choose a named one "
            "(python -m threetoe templates)."
        )
    plain = TokenizerTemplate(
        description=f"chat template of {model}",
        own=tokenizer.get_chat_template(),
        tokens={k: v for k, v in tokenizer.special_tokens_map.items() if isinstance(v, str)},
    )
    dated = replace(plain, clock=clock(plain))
    template = with_ends(replace(dated, header=dated.clock), marks)
    return with_header(template, marks, splits_after_cue(tokenizer, template))


def with_ends(template: TokenizerTemplate, marks: Marks) -> TokenizerTemplate:
    """The template, told what stands before and behind an answer."""
    question, answer = {"role": "user", "content": "a"}, {"role": "assistant", "content": "XYZZY"}
    asked = template.rendered([question], ask=True)
    whole = template.rendered([question, answer], ask=False)
    template.check_prefix(asked, whole)
    lead, found, tail = whole[len(asked) :].replace(CUT, "").partition("XYZZY")
    ends = [(tail.index(t), len(t)) for t in (*marks.special, marks.eos) if t in tail]
    if not found or not ends:
        raise UserError(
            f"--template {NAME}: the {template.description} ends an answer without a special "
            f"token (with {tail!r}), so answers would never end; choose a named template."
        )
    start, length = min(ends)
    return replace(
        template,
        trail=tail[:start],
        last=tail[start : start + length],
        after=tail[start + length :],
        lead=lead,
        cue=asked.replace(CUT, ""),
    )


def with_header(template: TokenizerTemplate, marks: Marks, natural: bool) -> TokenizerTemplate:
    """The template with CUTs in what spells a special token, and before answers unless the
    tokenizer splits there by itself (natural).

    An answer's spaces are taken off here where the base's Jinja would do it, as it takes off
    none behind a CUT.
    """
    question, answer = {"role": "user", "content": "a"}, {"role": "assistant", "content": "  X"}
    trims = "  X" not in template.rendered([question, answer], ask=False)
    with_input = {"role": "user", "content": "a", "input": "XYZZY"}
    knows_input = "XYZZY" in template.rendered([with_input], ask=True)  # as our exports do
    header = HEADER.format(
        shield=shield(marks),
        clock=template.clock,
        cut=cut_rule("text", always=not natural),
        with_input="" if knows_input else WITH_INPUT,
        own_input=KNOWN_INPUT if knows_input else "",
        trim=" | trim" if trims else "",
    )
    if natural or not template.lead:
        return replace(template, header=header)
    moved = MOVE_END % (quoted(template.lead + CUT), quoted(CUT + template.lead))
    return replace(template, header=header + MOVE_START, footer=moved)


def clock(template: TokenizerTemplate) -> str:
    """A date that stays what it was on the day of training, for a Jinja that asks for today's:
    as many formats as it asks for are recorded while it renders."""
    dates: dict[str, str] = {}

    def strftime_now(form: str) -> str:
        dates[form] = datetime.now().strftime(form)
        return dates[form]

    recording = replace(template, tokens={**template.tokens, "strftime_now": strftime_now})
    recording.rendered([{"role": "user", "content": "a"}], ask=True)
    return CLOCK.format(dates=json.dumps(dates, ensure_ascii=False)) if dates else ""


def with_input(message: dict) -> dict:
    """A message whose input follows its content, as HEADER has it."""
    content = message["content"] + ("\n\n" + message["input"] if message.get("input") else "")
    return {"role": message["role"], "content": content}


def unlike_own(template, tokenizer, model: str) -> str:
    """A line where a base's own chat template renders a question otherwise than a named template
    made of special tokens, as each format has versions; else ""."""
    if not (template.special_tokens and tokenizer.chat_template):
        return ""
    marks = marks_of(tokenizer)
    try:
        own = from_tokenizer(tokenizer, marks, model)
        theirs = own.prompt(ASKED, marks)
    except UserError:  # it could not be used instead
        return ""
    return "" if theirs == template.prompt(ASKED, marks) else (
        f"{template.name}: {model} was taught another form of it, by its own chat template: "
        f"--template {NAME} takes that"
    )  # fmt: skip


def of_fields(values: dict) -> Template | TokenizerTemplate:
    """The template of either kind whose fields a run has recorded."""
    return TokenizerTemplate(**values) if "own" in values else from_dict(values)
