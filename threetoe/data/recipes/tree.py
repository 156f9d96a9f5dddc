"""Trees of messages, as OASST has them, become conversations: of each its best-ranked path."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from threetoe.messages import Skipped, Unusable, is_blank

ROLES = {"prompter": "user", "assistant": "assistant"}
READY = "ready_for_export"  # of OASST's states of a tree, the one in which replies are ranked
ALL = "all"


@dataclass(slots=True)
class Message:
    where: str
    name: str  # message_id
    parent: str | None
    role: str
    text: str
    rank: float  # 0 is best; infinite where people gave none
    lang: str
    state: str
    left_out: bool  # deleted, or not approved by those who reviewed it
    problem: str | None  # why it cannot be said
    replies: list = field(default_factory=list)


def message_tree(rows: Iterable, columns, *, lang: str = ALL) -> Iterator:
    """A row of messages for each tree, in the order of their first messages.

    Rows are messages and may come in any order, so all of a split are held in memory. At every
    step the reply of the lowest rank is taken, of those without a rank the first; a last prompt
    that has no reply is left out. A tree has its first message's `where`.

    What is yielded, and so counted, are trees: messages off the path are no rows. A message that
    cannot be said, or whose parent is not there, is a fault with its own `where`.
    """
    messages: dict[str, Message] = {}
    for where, row in rows:
        try:
            if isinstance(row, Unusable):
                raise row
            message = message_of(where, row, columns)
            if messages.setdefault(message.name, message) is not message:
                raise Unusable("its message_id is that of an earlier message too")
        except Unusable as reason:
            yield where, reason
    for message in messages.values():
        if message.parent in messages:
            messages[message.parent].replies.append(message)
    for message in messages.values():
        if message.parent is None:
            yield message.where, conversation(message, lang)
        elif message.parent not in messages:
            yield message.where, Unusable("its parent_id is that of no message")
        elif message.problem and message.state == READY and lang in (ALL, message.lang):
            yield message.where, Unusable(message.problem)


def message_of(where: str, row: dict, columns) -> Message:
    """The message in a row; Unusable when it cannot even be found by others."""

    def value(name, needed=False):
        column = columns.of(row, name) if needed else columns.find(row, name)
        found = row[column] if column is not None else None
        return None if is_blank(found) else found

    name, parent = value("message_id", needed=True), value("parent_id", needed=True)
    role, text = value("role", needed=True), value("text", needed=True)
    if name is None:
        raise Unusable("message_id is empty")
    left_out = truth(value("deleted")) is True or truth(value("review_result")) is False
    rank, problem = value("rank"), None
    try:
        rank = math.inf if rank is None else float(rank)
    except (TypeError, ValueError):
        problem = f"rank is {str(rank)[:40]!r}, not a number"
    if str(role) not in ROLES:
        problem = f"role {str(role)[:40]!r} is not prompter or assistant"
    if not isinstance(text, str):
        problem = "text is empty" if text is None else f"text is {type(text).__name__}, not text"
    return Message(
        where, str(name), None if parent is None else str(parent), str(role), text, rank,
        str(value("lang") or ""), str(value("tree_state") or READY), left_out,
        None if left_out else problem,
    )  # fmt: skip


def truth(value) -> bool | None:
    """A truth value, also where a csv file spells it; None for anything else."""
    return {"true": True, "1": True, "false": False, "0": False}.get(str(value).lower())


def conversation(root: Message, lang: str) -> dict | Unusable:
    """The messages of a tree's best path, or why there are none."""
    if root.state != READY:
        return Skipped(f"tree_state is {root.state}, not {READY}")
    if lang not in (ALL, root.lang):
        return Skipped(f"lang is not {lang}")
    if root.left_out:
        return Skipped("the first message of the tree is deleted or was not approved")
    if root.problem or root.role != "prompter":
        return Unusable(root.problem or "the first message of the tree is the assistant's")
    path = best_path(root)
    if path[-1].role == "prompter":
        path.pop()
    if not path:
        return Unusable("the tree has no reply")
    return {"messages": [{"role": ROLES[m.role], "content": m.text} for m in path]}


def best_path(root: Message) -> list[Message]:
    path = [root]
    while True:
        role = path[-1].role
        fit = [r for r in path[-1].replies if not (r.left_out or r.problem or r.role == role)]
        if not fit:
            return path
        path.append(min(fit, key=lambda reply: reply.rank))  # the first of equals
