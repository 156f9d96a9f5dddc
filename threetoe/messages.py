"""What rows become: messages in order; and why a row becomes none."""

from collections.abc import Callable
from typing import NamedTuple

IGNORED = -100  # a label that is not learned, as torch's cross entropy has it


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


def is_blank(value) -> bool:
    """Nothing, white space, or the NaN that pandas writes for an empty cell."""
    return value is None or value != value or (isinstance(value, str) and not value.strip())


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


def code_of(value) -> str:
    """A code as text; 1, 1.0, True, '1' and ' 1 ' are the same."""
    try:
        number = float(value)
        return str(int(number)) if number == int(number) else str(number)
    except (TypeError, ValueError, OverflowError):  # text, nothing, nan, inf
        return str(value).strip()
