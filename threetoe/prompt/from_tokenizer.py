"""The template of a base's own Jinja: what stands around an answer is found by rendering, and a
header keeps the prompt's ids the same everywhere."""

import json
from dataclasses import replace
from datetime import datetime

from threetoe.errors import UserError
from threetoe.prompt.jinja import cut_rule, quoted, shield
from threetoe.prompt.pieces import CUT, Marks
from threetoe.prompt.template_file import FROM_TOKENIZER as NAME
from threetoe.prompt.tokenizer import marks_of, splits_after_cue
from threetoe.prompt.tokenizer_template import KNOWN_INPUT, TokenizerTemplate

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
# Where the base's Jinja itself writes the lead of an answer, the CUT is moved before it.
MOVE_START, MOVE_END = '{%- set text %}{{ "" }}', "{%% endset %%}{{- text | replace(%s, %s) -}}"
CLOCK = """\
{{%- macro strftime_now(format) -%}}
{{%- set kept = {dates} -%}}
{{{{- kept[format] if format in kept else raise_exception("no date was kept for " + format) -}}}}
{{%- endmacro -%}}"""


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
