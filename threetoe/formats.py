"""How a row becomes messages: formats are recognised from the row's keys."""

import re
from collections.abc import Callable
from reprlib import repr as shortened
from typing import NamedTuple

LONE_SURROGATE = re.compile("[\ud800-\udfff]")  # JSON can spell one, UTF-8 and tokenizers cannot


class Unusable(Exception):
    """Why one row cannot be learned from or asked; it goes into the ledger."""


class Skipped(Unusable):
    """Why a row is left out on purpose: it is counted, but it is no fault."""


class Format(NamedTuple):
    """`columns` a row must have; `messages(row)` returns [{"role", "content"}, ...].

    A user's message may also carry "input", Alpaca's second slot. An answer that the row
    does not have (a question for infer.py) is left out. Raises Unusable with the reason.
    A single message of the role "text" is learned as it is, under no template.
    """

    columns: tuple[str, ...]
    messages: Callable[[dict], list[dict]]
    answer: str | None = None  # the column that only training needs
    optional: tuple[str, ...] = ()  # columns that are read where a row has them
    alone: bool = False  # not where there are columns that may be an answer or a label


def alpaca(row: dict) -> list[dict]:
    user = {"role": "user", "content": text(row, "instruction")}
    if not is_blank(row.get("input")):
        user["input"] = text(row, "input")
    return [*system(row), user, *answer(row, "output")]


def prompt_completion(row: dict) -> list[dict]:
    user = {"role": "user", "content": text(row, "prompt")}
    return [*system(row), user, *answer(row, "completion")]


def question_answer(row: dict) -> list[dict]:
    user = {"role": "user", "content": text(row, "question")}
    return [*system(row), user, *answer(row, "answer")]


def chat(row: dict) -> list[dict]:
    return turns(row["messages"], "messages", "role", "content")


def sharegpt(row: dict) -> list[dict]:
    """ShareGPT's conversations, [{"from": "human", "value": ...}, ...]; a "system" column too."""
    listed = row["conversations"]
    says_role = isinstance(listed, list) and listed and is_dict_with(listed[0], "role")
    keys = ("role", "content") if says_role else ("from", "value")
    messages = turns(listed, "conversations", *keys)
    return messages if messages[:1] and messages[0]["role"] == "system" else system(row) + messages


def turns(messages, column: str, role_key: str, text_key: str) -> list[dict]:
    """The messages of a column, roles by their usual names."""
    if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
        raise Unusable(f"{column} is not a list of {{{role_key}, {text_key}}}")
    result = []
    for message in messages:
        given = message.get(role_key)
        role = ROLES.get(given) if isinstance(given, str) else None
        if role is None:
            raise Unusable(f"{role_key} {shortened(given)} is not system, user or assistant")
        result.append({"role": role, "content": text(message, text_key, role == "system")})
    return result


def is_dict_with(value, key: str) -> bool:
    return isinstance(value, dict) and key in value


def whole_text(row: dict) -> list[dict]:
    """A text in which the prompt is put together already, all of it to be learned."""
    return [{"role": "text", "content": text(row, "text")}]


def system(row: dict) -> list[dict]:
    if is_blank(row.get("system")):
        return []
    return [{"role": "system", "content": text(row, "system")}]


def answer(row: dict, column: str) -> list[dict]:
    if is_blank(row.get(column)):
        return []
    return [{"role": "assistant", "content": text(row, column)}]


def text(row: dict, column: str, may_be_empty: bool = False) -> str:
    """The column's text; numbers and truth values are written out."""
    value = row.get(column)
    if is_blank(value) and not (may_be_empty and isinstance(value, str)):
        raise Unusable(f"{column} is empty")
    if isinstance(value, (bool, int, float)):
        value = str(value)
    if not isinstance(value, str):
        raise Unusable(f"{column} is {type(value).__name__}, not text")
    if LONE_SURROGATE.search(value):
        raise Unusable(f"{column} has half a character (a lone surrogate)")
    return value


def is_blank(value) -> bool:
    """Nothing, white space, or the NaN that pandas writes for an empty cell."""
    return value is None or value != value or (isinstance(value, str) and not value.strip())


ROLES = {
    "system": "system", "user": "user", "human": "user", "assistant": "assistant",
    "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant", "model": "assistant",
}  # fmt: skip
ABOUT = frozenset(  # columns that say something about a row and are no part of it
    "id idx index source url title author date created timestamp lang language meta metadata "
    "license".split()
)
FORMATS = {  # the first whose columns a row has
    "messages": Format(("messages",), chat),
    "sharegpt": Format(("conversations",), sharegpt, optional=("system",)),
    "alpaca": Format(("instruction",), alpaca, "output", ("input", "system")),
    "prompt-completion": Format(("prompt",), prompt_completion, "completion", ("system",)),
    "question-answer": Format(("question",), question_answer, "answer", ("system",)),
    "text": Format(("text",), whole_text, alone=True),
}


def is_message(message) -> bool:
    return isinstance(message, dict) and all(
        isinstance(message.get(key), str) for key in ("role", "content")
    )


def order_problem(messages: list[dict], answered: bool) -> str | None:
    """What is wrong with the order of turns, or None: [system] user assistant user ...

    `answered`: whether the last turn must be the assistant's (training) or must not (asking).
    """
    if not isinstance(messages, list) or not all(map(is_message, messages)):
        return "not a list of {role, content} with texts"
    if [m["role"] for m in messages] == ["text"]:
        return None if answered else "a whole text asks nothing"
    roles = [m["role"] for m in messages]
    turns = roles[1:] if roles[:1] == ["system"] else roles
    if "system" in turns:
        return "a system message stands behind others"
    if not turns:
        return "no user message"
    if answered and turns == ["user", "assistant"]:
        return None  # most rows
    expected = ["user", "assistant"] * len(turns)
    for number, (role, right) in enumerate(zip(turns, expected, strict=False), 1):
        if role != right:
            return f"turn {number} is the {role}'s, expected the {right}'s"
    if answered and turns[-1] != "assistant":
        return "the last turn has no answer"
    return None
