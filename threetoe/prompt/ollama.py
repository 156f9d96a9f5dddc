"""A Modelfile for Ollama, whose Go template renders what template.py renders.

What Ollama makes of it stands in its source: parser/parser.go for the file, template/template.go
for the values a template has, server/routes.go for SYSTEM, which becomes a first system message
where a request brings none. BOS at the front is the tokenizer's, which Ollama leaves to llama.cpp.
"""

import json
import re
from itertools import groupby
from typing import NamedTuple

from threetoe.prompt.pieces import Marks, slots_of

# Outside of actions: what Go's lexer or Ollama's parser would take for its own, with a brace that
# comes before such a thing or last, since an action follows it; and all that may not be printable.
SPECIAL = re.compile(r'\{\{|\{\Z|\{?"""|\{?[^ -~]')
LAST = "$last := eq (len (slice $.Messages $i)) 1"


class Part(NamedTuple):
    text: str
    action: bool = False  # what stands in {{ }}; everything else is written as it is


def modelfile(template, marks: Marks, source: str = ".", opening: str = "") -> str:
    """The Modelfile of a model in `source`, a folder with safetensors or a GGUF file.

    What Ollama cannot do as the model was trained stands in it as comments. `opening`: what stands
    in front of a conversation without a system text.
    """
    stops = [template.eos, marks.eos, *template.stop]
    values = [("SYSTEM", template.system)]
    values += [("PARAMETER stop", stop) for stop in dict.fromkeys(stops)]
    lines = [f"# The prompt template {template.name}, written by Threetoe."]
    lines += [f"# {limit}" for limit in limits(template, marks)]
    lines += [f"FROM {source}", "", f'TEMPLATE """{go_template(template, marks, opening)}"""', ""]
    lines += [setting(name, text) for name, text in values if text]
    return "\n".join(lines) + "\n"


def limits(template, marks: Marks):
    """What is lost in Ollama, a line each."""
    yield "A text that spells one of the tokenizer's special tokens becomes that token."
    form = template.roles["user"].replace("{content}", "{content}\n\n{input}")
    if template.roles["user_with_input"] != form:
        shown = json.dumps(template.roles["user_with_input"], ensure_ascii=False)
        yield f"There is no field for an input. With one, a question was trained as {shown}."
    if template.system_with_input != template.system:
        shown = json.dumps(template.system_with_input, ensure_ascii=False)
        yield f"Questions with an input had another system text: {shown}."
    if template.trim or marks.swallowing:
        yield "White space around a text is kept, which was taken off in training."


def setting(name: str, text: str) -> str:
    """A line of a Modelfile, or a comment where its parser would change the text: it drops what
    is not printable, and three quotes before a line break end a text."""
    if not is_kept(text):
        shown = json.dumps(text)
        return f"# {name} is left out; a Modelfile cannot hold this text: {shown}"
    quotes = '"""' if '"' in text or name == "SYSTEM" else '"'
    return f"{name} {quotes}{text}{quotes}"


def is_kept(text: str) -> bool:
    return all(map(is_printed, text)) and not re.search(r'"""[ \t]*[\r\n]', text)


def is_printed(character: str) -> bool:
    """Whether Go's strconv.IsPrint keeps it, or the parser does itself."""
    return character.isprintable() or character in "\t\r\n"


def go_template(template, marks: Marks, opening: str) -> str:
    """The Go template of a conversation: with the cue at its end, or, where the last message is
    an answer, with that answer left open for the model to go on."""
    first = [Part(marks.swallowed(opening))] if opening else []
    held = template.holds_system
    keep, say = [do("$system = .Content")], when(".Content", turn("system", template, marks))
    return written([
        *([do('$system := ""')] if held else []),
        do("range $i, $_ := .Messages"),
        do(LAST),
        *(when('and (eq $i 0) (ne .Role "system")', first) if first else []),
        do('if eq .Role "system"'),
        *(keep if held else say),
        do('else if eq .Role "user"'),
        *turn("user", template, marks),
        *([do('$system = ""')] if held else []),
        do('else if eq .Role "assistant"'),
        *answer(template, marks),
        do("end"),
        *when('and $last (ne .Role "assistant")', [Part(marks.swallowed(template.cue))]),
        do("end"),
    ])  # fmt: skip


def do(action: str) -> Part:
    return Part(action, True)


def when(condition: str, parts: list[Part]) -> list[Part]:
    return [do(f"if {condition}"), *parts, do("end")]


def turn(role: str, template, marks: Marks, content: str = ".Content") -> list[Part]:
    """One role's text, its slots filled from the message, or from a variable."""
    slots = {
        "content": [do(content)],
        "bos": [Part(marks.bos)],
        "learn": [],
        None: [],
    }
    if "{system}" in template.roles[role]:
        slots["system"] = when("$system", turn("system", template, marks, "$system"))
    whole = marks.swallowed(template.roles[role].replace("{eos}", template.end(marks)))
    return [part for text, slot in slots_of(whole) for part in [Part(text), *slots[slot]]]


def answer(template, marks: Marks) -> list[Part]:
    parts = turn("assistant", template, marks)
    place = parts.index(do(".Content")) + 1
    return parts[:place] + when("not $last", parts[place:])


def written(parts: list[Part]) -> str:
    """The parts as text. An action that prints nothing starts a line where that can be trimmed
    away again (`{{-`): where the text before it does not end in white space itself."""
    result = ""
    for action, group in groupby(parts, key=lambda part: part.action):
        texts = [part.text for part in group]
        if not action:
            result += literal("".join(texts))
            continue
        for text in texts:
            prints = text in (".Content", "$system")
            trimmed = result and not prints and not result[-1].isspace()
            result += f"\n{{{{- {text} }}}}" if trimmed else f"{{{{ {text} }}}}"
    return result


def literal(text: str) -> str:
    """Text outside of actions; what cannot stand there is said as a Go string."""
    return SPECIAL.sub(lambda found: said(found[0]), text)


def said(text: str) -> str:
    if text[-1] not in '{"' and all(map(is_printed, text)):
        return text
    plain = (c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08x}" for c in text)
    return f'{{{{ "{"".join(plain)}" }}}}'
