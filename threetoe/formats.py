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
    """

    columns: tuple[str, ...]
    messages: Callable[[dict], list[dict]]
    answer: str | None = None  # the column that only training needs


def alpaca(row: dict) -> list[dict]:
    user = {"role": "user", "content": text(row, "instruction")}
    if not is_blank(row.get("input")):
        user["input"] = text(row, "input")
    return [*system(row), user, *answer(row, "output")]


def prompt_completion(row: dict) -> list[dict]:
    user = {"role": "user", "content": text(row, "prompt")}
    return [*system(row), user, *answer(row, "completion")]


def chat(row: dict) -> list[dict]:
    messages = row["messages"]
    if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
        raise Unusable("messages is not a list of {role, content}")
    result = []
    for message in messages:
        role = message.get("role")
        if role not in ("system", "user", "assistant"):
            raise Unusable(f"role {shortened(role)} is not system, user or assistant")
        result.append({"role": role, "content": text(message, "content", role == "system")})
    return result


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


FORMATS = {
    "messages": Format(("messages",), chat),
    "alpaca": Format(("instruction",), alpaca, "output"),
    "prompt-completion": Format(("prompt",), prompt_completion, "completion"),
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
    turns = [m["role"] for m in messages if m["role"] != "system"]
    if any(m["role"] == "system" for m in messages[1:]):
        return "a system message stands behind others"
    if not turns:
        return "no user message"
    expected = ["user", "assistant"] * len(turns)
    for number, (role, right) in enumerate(zip(turns, expected, strict=False), 1):
        if role != right:
            return f"turn {number} is the {role}'s, expected the {right}'s"
    if answered and turns[-1] != "assistant":
        return "the last turn has no answer"
    return None
