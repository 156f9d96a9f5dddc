"""Template files: found by name, read from YAML, and what is wrong with one, line by line."""

import re
from dataclasses import replace
from pathlib import Path

from threetoe.errors import UserError, did_you_mean, unknown
from threetoe.machine.files import read_yaml
from threetoe.machine.records import of_kind
from threetoe.prompt.pieces import CUT, SLOT
from threetoe.prompt.template import Template

SLOTS = {  # role: slots that stand once, slots that may
    "system": (("content",), ("bos", "eos")),
    "user": (("content",), ("system", "bos", "eos")),
    "user_with_input": (("content", "input"), ("system", "bos", "eos")),
    "assistant": (("content", "eos"), ("learn", "bos")),
}
LISTS = {
    "stop": '["### Instruction:"]',
    "special_tokens": '["<|im_start|>"]',
    "trim": '["user", "assistant"]',
}
FIELDS = [name for name in Template.__dataclass_fields__ if name != "name"]
FROM_TOKENIZER = "from-tokenizer"  # no file: the base's own chat template
# What looks like a special token: <|im_start|>, <start_of_turn>, and the <s> and </s> of Llama 2.
SPECIAL = re.compile(r"<\|[^\s<>|]+\|>|</?[a-z]+(?:_[a-z]+)+>|</?s>|<(?:bos|eos|pad)>")
OPENS = re.compile(r"<s>|<bos>|<\|(?:begin|start)_?of_?text\|>")
CLOSES = re.compile(r"</s>|<eos>|<\|end_?of_?text\|>")


def known_templates(hooks, config) -> dict[str, Path]:
    """The files of all named templates; UserError when a plugin takes a name that is a command."""
    known = hooks.merge("register_templates", config=config)
    if taken := known.keys() & {FROM_TOKENIZER, "rank"}:
        raise UserError(f"register_templates: '{min(taken)}' is no template's name; rename it.")
    return known


def find_template(name: str, known: dict[str, Path]) -> Template:
    """The template of a name, of ###Name, or of a YAML file of one's own."""
    if name.endswith((".yaml", ".yml")):
        return read_template(Path(name))
    short = name if name in known else name.lstrip("# ").lower()
    if short in known:
        return replace(read_template(Path(known[short])), name=short)
    if "/" in name or Path(name).suffix:
        raise UserError(f"--template {name}: a template's file ends in .yaml, a name has no dot.")
    raise unknown("template", name, [*known, FROM_TOKENIZER])


def read_template(path: Path) -> Template:
    """The template in a YAML file; UserError has a line for everything that is wrong with it."""
    values, lines = read_yaml(path)
    if not isinstance(values, dict):
        raise UserError(f"{path}:1: a template has lines such as 'description: ...' and 'roles:'.")
    problems = [
        f"{path}:{lines.get(place, lines.get(place[:1], 1))}: {problem}"
        for place, problem in problems_of(values)
    ]
    if problems:
        raise UserError(*problems)
    roles = dict(values["roles"])
    roles.setdefault("user_with_input", roles["user"].replace("{content}", "{content}\n\n{input}"))
    if "{learn}" not in roles["assistant"]:
        roles["assistant"] = roles["assistant"].replace("{content}", "{learn}{content}")
    values.setdefault("system_with_input", values.get("system", ""))
    return of_kind({**values, "name": path.stem, "roles": roles}, Template, path)


def problems_of(values: dict):
    """What is wrong with a template's fields: (place, what), the place as keys from the top."""
    for key, value in values.items():
        if key not in FIELDS:
            hint = did_you_mean(key, FIELDS)
            yield (key,), f"unknown field '{key}'.{hint} Known: {', '.join(FIELDS)}."
        elif key in LISTS and not (isinstance(value, list) and all(map(is_text, value))):
            yield (key,), f"'{key}' is a list of texts, such as {LISTS[key]}."
        elif key not in ("roles", *LISTS) and not isinstance(value, str):
            yield (key,), f"'{key}' is {type(value).__name__}, not text; put it in quotes."
    if "description" not in values:
        yield (), "'description' is missing; say in a line what the template is."
    roles = values.get("roles")
    if not isinstance(roles, dict):
        yield ("roles",), "'roles' is missing: one text each for system, user and assistant."
        return
    for role in ("system", "user", "assistant"):
        if role not in roles:
            yield ("roles",), f"roles: '{role}' is missing."
    for role, text in roles.items():
        for problem in problems_of_role(role, text):
            yield ("roles", role), f"roles: {problem}"
    trimmed = values.get("trim")
    for role in trimmed if isinstance(trimmed, list) else ():
        if role not in ("system", "user", "assistant"):
            yield ("trim",), f"'trim' names roles: system, user or assistant, not {role!r}."
    yield from problems_between(values, {r: t for r, t in roles.items() if isinstance(t, str)})


def is_text(value) -> bool:
    return isinstance(value, str) and bool(value)


def problems_of_role(role: str, text):
    if role not in SLOTS:
        yield f"unknown role '{role}'.{did_you_mean(role, SLOTS)}"
        return
    if not isinstance(text, str):
        yield f"'{role}' is {type(text).__name__}, not text; put it in quotes."
        return
    if CUT in text:
        yield f"'{role}' has the character U+FDD1, which is kept for marking answers; take it out."
    if doubled := re.search(r"\{\{(\w+)\}\}", text):
        yield f"'{role}' has {doubled[0]}; a slot has one brace on each side: {{{doubled[1]}}}."
    if "\\n" in text:
        yield f"'{role}' has a backslash and an n; in YAML a line break needs double quotes."
    needed, allowed = SLOTS[role]
    found = SLOT.findall(text)
    for slot in needed:
        if found.count(slot) != 1:
            yield f"'{role}' has {{{slot}}} {found.count(slot)} times; it must stand once."
    for slot in allowed:
        if found.count(slot) > 1:
            yield f"'{role}' has {{{slot}}} {found.count(slot)} times; once is enough."
    for slot in dict.fromkeys(s for s in found if s not in needed + allowed):
        hint = did_you_mean(slot, needed + allowed)
        hint = " It belongs in 'user_with_input'." if slot == "input" else hint
        yield f"'{role}' has an unknown slot {{{slot}}}.{hint}"
    if role == "assistant" and found.count("content") == found.count("eos") == 1:
        yield from problems_of_answer(text, found)


def problems_of_answer(text: str, found: list[str]):
    order = [slot for slot in ("learn", "content", "eos", "bos") if slot in found]
    if found != order:
        wanted = " ".join(f"{{{slot}}}" for slot in order)
        yield f"'assistant' has its slots in another order than {wanted}."
    cue = re.split(r"\{learn\}|\{content\}", text)[0]
    if re.search(r"[ \t]$", cue):
        yield (
            "the text before {content} in 'assistant' ends in a space, which most tokenizers "
            "join to the answer's first word; end it with a line break or a mark, or write "
            "{learn} before the space, so that the model learns to write it."
        )


def problems_between(values: dict, roles: dict[str, str]):
    """What is wrong between a template's parts."""
    with_input = roles.get("user_with_input")
    if with_input and ("{system}" in with_input) != ("{system}" in roles.get("user", "")):
        yield (
            ("roles", "user_with_input"),
            "roles: {system} stands in one of 'user' and 'user_with_input'; write it in both.",
        )
    declared = values.get("special_tokens")
    declared = [t for t in declared if is_text(t)] if isinstance(declared, list) else []
    texts = {("roles", role): text for role, text in roles.items()}
    texts[("eos",)] = str(values.get("eos", ""))
    for place, text in texts.items():
        marks = SPECIAL.findall(text) or re.findall(r"<\S+>", text) * (place == ("eos",))
        for token in dict.fromkeys(marks):
            yield from problem_of_token(place, token, declared)
    for token in declared:
        if not any(token in text for text in texts.values()):
            yield ("special_tokens",), f"special_tokens: {token} stands in no role."


def problem_of_token(place: tuple, token: str, declared: list[str]):
    if OPENS.fullmatch(token):
        yield place, f"{place[-1]}: leave {token} out; {{bos}} is each base's own, and comes first."
    elif CLOSES.fullmatch(token):
        yield place, f"{place[-1]}: write {{eos}} for {token}; each base has its own."
    elif token not in declared:
        wanted = ", ".join(f'"{t}"' for t in [*declared, token])
        yield place, f"{place[-1]}: {token} is not declared; write special_tokens: [{wanted}]."
