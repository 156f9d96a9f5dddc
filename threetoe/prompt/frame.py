"""A base's own chat template as texts a role, found by rendering it: for Ollama, which reads no
Jinja."""

from os.path import commonprefix

from threetoe.errors import UserError
from threetoe.prompt.pieces import CUT, SLOT, Marks
from threetoe.prompt.template import Template

SLOTS = {"content", "system", "learn", "eos"}
QUESTION, ANSWER, SYSTEM = "XQUESTIONX", "XANSWERX", "XSYSTEMX"
USER = {"role": "user", "content": QUESTION}
ASSISTANT = {"role": "assistant", "content": ANSWER}
WITH_SYSTEM = [{"role": "system", "content": SYSTEM}, USER]


def as_roles(own, marks: Marks) -> tuple[Template, str]:
    """A Template that renders what a TokenizerTemplate does, and what opens a conversation without
    a system text; UserError where there is none."""
    try:
        template, opening = found_roles(own, marks)
        wrong = next(differences(own, template, opening, marks), None)
    except ValueError:  # a text does not stand where it must
        wrong = "its turns"
    if wrong:
        raise UserError(
            f"--ollama: a Modelfile cannot say what the {own.description} makes of {wrong}; use "
            "--gguf with llama.cpp, or train with a named template."
        )
    return template, opening


def found_roles(own, marks: Marks) -> tuple[Template, str]:
    """The texts around a question, an answer and a system text; ValueError where one is not alike
    in every place."""
    first = text_of(own, [USER])
    opening, cue = parts(first, QUESTION)  # what ends a question goes with the cue
    more = without(text_of(own, [USER, ASSISTANT, USER]), first)
    lead, rest = parts(more, ANSWER)
    between = parts(without(rest, own.trail + own.last), QUESTION)[0]
    after = commonprefix([own.after, between])
    before = between.removeprefix(after)
    opening = without(opening, end=before).removeprefix(marks.bos)
    roles = {
        "user": before + "{content}",
        "assistant": cue + "{learn}" + lead + "{content}" + own.trail + "{eos}" + after,
    }
    try:
        start, rest = parts(text_of(own, WITH_SYSTEM).removeprefix(marks.bos), SYSTEM)
    except UserError:  # it knows none: Ollama's goes where Gemma's does
        start, rest = before, "\n\n" + QUESTION + cue
    end = parts(rest, QUESTION)[0]
    if before and end.endswith(before):
        roles["system"] = start + "{content}" + end.removesuffix(before)
    else:
        roles["system"] = without(start, before) + "{content}" + end
        roles["user"] = before + "{system}{content}"
    if {slot for text in roles.values() for slot in SLOT.findall(text)} - SLOTS:
        raise ValueError(roles)
    roles["user_with_input"] = roles["user"].replace("{content}", "{content}\n\n{input}")
    spaced = text_of(own, [{**USER, "content": f"  {QUESTION}"}])
    trim = () if f"  {QUESTION}" in spaced else ("user",)
    template = Template(own.name, own.description, roles, eos=own.last, trim=trim)
    return template, opening


def differences(own, template: Template, opening: str, marks: Marks):
    """What a conversation has that the two render otherwise, in words."""
    asked = {
        "a question": [USER],
        "an answer before": [USER, ASSISTANT, USER],
        "a system text": [*WITH_SYSTEM, ASSISTANT, USER],
    }
    for what, messages in asked.items():
        try:
            theirs = text_of(own, messages)
        except UserError:
            continue  # it knows no system text
        ours = "".join(piece.text for piece in template.prompt(messages, marks))
        start = "" if messages[0]["role"] == "system" else opening
        if theirs != (marks.bos + start + ours.removeprefix(marks.bos)).replace(CUT, ""):
            yield what


def text_of(own, messages: list[dict]) -> str:
    return own.rendered(messages, ask=True).replace(CUT, "")


def parts(text: str, middle: str) -> tuple[str, str]:
    """What stands before and behind a part of a text; ValueError where it does not stand once."""
    before, behind = text.split(middle)
    return before, behind


def without(text: str, start: str = "", end: str = "") -> str:
    """The text between its start and its end; ValueError where it has others."""
    if not (text.startswith(start) and text.endswith(end)):
        raise ValueError(text)
    return text[len(start) : len(text) - len(end)]
