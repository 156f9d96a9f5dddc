"""The Jinja chat template that renders what template.py renders, to be saved with a tokenizer.

Every role becomes one Jinja expression, its texts joined with ~.
"""

import json

from threetoe.prompt.pieces import CUT, Marks, look_alikes, slots_of

MACRO = "{{%- macro shielded(text) -%}}{{{{- text{shield} -}}}}{{%- endmacro -%}}\n"
FRAME = """\
{{%- set turn = namespace(system="") -%}}
{{{{- {bos} -}}}}
{{%- if messages[0].role != "system" -%}}
{{%- set turn.system = {default_with_input} if messages[0].input else {default} -%}}
{{%- endif -%}}
{before}
{{%- for message in messages -%}}
{{%- if message.role == "system" -%}}
{{%- if message.content -%}}{{%- set turn.system = {system} -%}}{before}{{%- endif -%}}
{{%- elif message.role == "user" and message.input -%}}{{{{- {user_with_input} -}}}}{after}
{{%- elif message.role == "user" -%}}{{{{- {user} -}}}}{after}
{{%- elif message.role == "assistant" -%}}{{{{- {assistant} -}}}}
{{%- else -%}}{{{{- raise_exception("Unknown role: " + message.role) -}}}}
{{%- endif -%}}
{{%- endfor -%}}
{{%- if add_generation_prompt -%}}{{{{- {cue} -}}}}{{%- endif -%}}
"""
SAY_SYSTEM = "{{- turn.system -}}"
SAID = '{%- set turn.system = "" -%}'
# Around a Jinja: what it renders, without the white space that a tokenizer's tokens take along.
SWALLOWING = """\
{%- set rendered -%}{{ "" }}JINJA{%- endset -%}
{%- set swallowed = namespace(text=rendered) -%}
{%- for token in TOKENS -%}
{%- set parts = swallowed.text.split(token) -%}
{%- set swallowed.text = parts[0] -%}
{%- for part in parts[1:] -%}
{%- set swallowed.text = swallowed.text ~ token ~ part.lstrip() -%}
{%- endfor -%}
{%- endfor -%}
{{- swallowed.text -}}"""


def chat_template(template, marks: Marks, always_cut: bool) -> str:
    """Jinja for `apply_chat_template`: the same text as Template.pieces and Template.prompt.

    An earlier answer gets its CUT where the tokenizer could otherwise join it to the cue:
    always, or (always_cut False: see encode.splits_after_cue) only when it starts with a space
    or line break.
    """
    cut = cut_rule(field_of("message.content", "assistant" in template.trim), always_cut)
    macro = MACRO.format(shield=shield(marks))
    return macro + frame(template, marks, cut, "shielded({})")


def gguf_chat_template(template, marks: Marks) -> str:
    """Jinja for a GGUF file: the same text without any CUT, which llama.cpp's tokenizers would
    hand to the model. There a user's text that spells a special token becomes that token."""
    return without_swallowed(frame(template, marks, '""', "{}").replace(CUT, ""), marks)


def without_swallowed(jinja: str, marks: Marks) -> str:
    """A Jinja for llama.cpp, which knows no token that takes the white space behind it along."""
    if not marks.swallowing:
        return jinja
    tokens = json.dumps(list(marks.swallowing), ensure_ascii=False)
    return SWALLOWING.replace("JINJA", jinja).replace("TOKENS", tokens)


def frame(template, marks: Marks, cut: str, field: str) -> str:
    """The Jinja without its macro; `cut` is what stands where learning starts, `field` what is
    made of a message's field."""
    turns = {role: expression(role, template, marks, cut, field) for role in template.roles}
    return FRAME.format(
        bos=quoted(marks.bos),
        default=default_system(template.system, template, marks),
        default_with_input=default_system(template.system_with_input, template, marks),
        before="" if template.holds_system else SAY_SYSTEM,
        after=SAID if template.holds_system else "",
        cue=quoted(template.cue),
        **turns,
    )


def expression(role: str, template, marks: Marks, cut: str, field: str) -> str:
    """One role's text as a Jinja expression, its slots filled from `message`; see frame."""
    trimmed = role.removesuffix("_with_input") in template.trim
    marked = {
        "bos": quoted(marks.bos),
        "eos": quoted(template.end(marks)),
        "system": "turn.system",
        "learn": cut,
        "content": field.format(field_of("message.content", trimmed)),
        "input": field.format(field_of("message.input", trimmed)),
    }
    parts = []
    for literal, slot in slots_of(template.roles[role]):
        parts += [quoted(literal)] if literal else []
        parts += [marked[slot]] if slot else []
    return " ~ ".join(part for part in parts if part != '""') or '""'


def field_of(name: str, trimmed: bool) -> str:
    return f"({name} | trim)" if trimmed else name


def default_system(content: str, template, marks: Marks) -> str:
    """The default system text, rendered, as a Jinja literal."""
    if not content:
        return '""'
    message = {"role": "system", "content": content}
    return quoted("".join(text for text, _ in template.render(message, marks, [])))


def cut_rule(text: str, always: bool) -> str:
    """Jinja for the CUT before an answer: always, or only before a space or line break."""
    return quoted(CUT) if always else f'("" if {text}[:1].strip() else {quoted(CUT)})'


def shield(marks: Marks) -> str:
    """Jinja filters that keep a user's text from spelling a special token."""
    return "".join(
        f" | replace({quoted(token)}, {quoted(token[0] + CUT + token[1:])})"
        for token in look_alikes(marks.special)
    )


def quoted(text: str) -> str:
    """A Jinja string literal; JSON's escapes are a subset of Jinja's."""
    return json.dumps(text, ensure_ascii=False)
