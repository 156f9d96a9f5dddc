"""The Jinja chat template that renders what template.py renders, to be saved with a tokenizer."""

import json

from threetoe.template import CUT, Marks, Template, look_alikes, shielded, slots_of

FRAME = """\
{{%- macro shielded(text) -%}}{{{{- text{shield} -}}}}{{%- endmacro -%}}
{bos}
{{%- if messages[0].role != "system" -%}}
{{%- if messages[0].input -%}}{system_with_input}{{%- else -%}}{system}{{%- endif -%}}
{{%- endif -%}}
{{%- for message in messages -%}}
{{%- if message.role == "system" -%}}{{%- if message.content -%}}{a_system}{{%- endif -%}}
{{%- elif message.role == "user" and message.input -%}}{a_user_with_input}
{{%- elif message.role == "user" -%}}{a_user}
{{%- elif message.role == "assistant" -%}}{an_assistant}
{{%- else -%}}{{{{- raise_exception("Unknown role: " + message.role) -}}}}
{{%- endif -%}}
{{%- endfor -%}}
{{%- if add_generation_prompt -%}}{cue}{{%- endif -%}}
"""


def chat_template(template: Template, marks: Marks, always_cut: bool) -> str:
    """Jinja for `apply_chat_template`: the same text as Template.pieces and Template.prompt.

    An earlier answer gets its CUT where the tokenizer could otherwise join it to the cue:
    always, or (always_cut False: see encode.splits_after_cue) only when it starts with a space
    or line break.
    """
    shield = "".join(
        f" | replace({quoted(token)}, {quoted(token[0] + CUT + token[1:])})"
        for token in look_alikes(marks)
    )
    return FRAME.format(
        shield=shield,
        bos=say(marks.bos),
        system=system(template, template.system, marks),
        system_with_input=system(template, template.system_with_input, marks),
        a_system=role(template.roles["system"], marks, template),
        a_user=role(template.roles["user"], marks, template),
        a_user_with_input=role(template.roles["user_with_input"], marks, template),
        an_assistant=role(template.roles["assistant"], marks, template, cut_rule(always_cut)),
        cue=say(template.cue),
    )


def role(text: str, marks: Marks, template: Template, before_content: str = "") -> str:
    """One role's text, its slots filled from `message`."""
    result = ""
    for literal, slot in slots_of(text):
        result += say(literal)
        if slot == "eos":
            result += say(template.end(marks))
        elif slot:
            result += (before_content if slot == "content" else "") + (
                "{{- shielded(message." + slot + ") -}}"
            )
    return result


def system(template: Template, content: str, marks: Marks) -> str:
    """The default system text, rendered; nothing when there is none."""
    if not content:
        return ""
    return say(template.roles["system"].replace("{content}", shielded(content, marks)))


def cut_rule(always: bool) -> str:
    cut = say(CUT)
    return cut if always else "{%- if not message.content[:1].strip() -%}" + cut + "{%- endif -%}"


def say(text: str) -> str:
    return "{{- " + quoted(text) + " -}}" if text else ""


def quoted(text: str) -> str:
    """A Jinja string literal; JSON's escapes are a subset of Jinja's."""
    return json.dumps(text, ensure_ascii=False)
