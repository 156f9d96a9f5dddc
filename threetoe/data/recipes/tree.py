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

    What is yielded, and so counted, are trees: messages off the path are no rows. Of the rest,
    each message that cannot stand in a tree (no id, no text, the role of the message that it
    replies to) is a fault with its own `where`, and so is one message of whatever hangs on no
    tree: its parent is missing, or its parents lead back to itself.
    """
    messages: dict[str, Message] = {}
    for where, row in rows:
        try:
            if isinstance(row, Unusable):
                raise row
            add(messages, message_of(where, row, columns))
        except Unusable as reason:
            yield where, reason
    for message in messages.values():
        if message.parent in messages:
            messages[message.parent].replies.append(message)
    seen: set[str] = set()
    for root in messages.values():
        if root.parent is None:
            faults, result = faults_of(root, seen), conversation(root, lang)
            yield root.where, result
            yield from () if isinstance(result, Skipped) else faults
    yield from astray(messages, seen)


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
    rank = rank_of(value("rank"))
    problem = None if isinstance(text, str) else f"text is {type(text).__name__}, not text"
    if text is None:
        problem = "text is empty"
    elif str(role) not in ROLES:
        problem = f"role {str(role)[:40]!r} is not prompter or assistant"
    elif rank is None:
        problem = f"rank is {str(value('rank'))[:40]!r}, not a number"
    return Message(
        where, str(name), None if parent is None else str(parent), str(role), text, rank or 0.0,
        str(value("lang") or ""), str(value("tree_state") or READY),
        truth(value("deleted")) is True or truth(value("review_result")) is False, problem,
    )  # fmt: skip


def rank_of(value) -> float | None:
    """A rank, infinite for none; None when it is no number."""
    try:
        return math.inf if value is None else float(value)
    except (TypeError, ValueError):
        return None


def truth(value) -> bool | None:
    """A truth value, also where a csv file spells it; None for anything else."""
    return {"true": True, "1": True, "false": False, "0": False}.get(str(value).lower())


def add(messages: dict[str, Message], message: Message) -> None:
    if message.name in messages:
        raise Unusable("its message_id is that of an earlier message too")
    messages[message.name] = message


def faults_of(root: Message, seen: set[str]) -> list[tuple[str, Unusable]]:
    """(where, why) of the replies in a tree that cannot stand in it; notes all as seen."""
    faults, left = [], [root]
    while left:
        message = left.pop()
        seen.add(message.name)
        for reply in message.replies:
            problem = problem_of(reply, message)
            if problem and not reply.left_out:
                faults.append((reply.where, Unusable(problem)))
            left.append(reply)
    return faults


def problem_of(reply: Message, parent: Message) -> str | None:
    """Why a reply cannot stand below its parent."""
    same = reply.role == parent.role
    return reply.problem or (f"the {reply.role} replies to the {reply.role}" if same else None)


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
        fit = [r for r in path[-1].replies if not r.left_out and not problem_of(r, path[-1])]
        if not fit:
            return path
        path.append(min(fit, key=lambda reply: reply.rank))  # the first of equals


def astray(messages: dict[str, Message], seen: set[str]) -> Iterator:
    """(where, Unusable) for one message of each part that hangs on no tree."""
    for message in messages.values():
        if message.parent is not None and message.parent not in messages:
            faults_of(message, seen)
            yield message.where, Unusable("its parent_id is that of no message")
    for message in messages.values():
        if message.name not in seen:
            first = one_of_circle(message, messages)
            note_circle(first, seen)
            yield first.where, Unusable("its parents lead back to itself")


def one_of_circle(message: Message, messages: dict[str, Message]) -> Message:
    """The message that climbing from parent to parent comes to twice."""
    met: set[str] = set()
    while message.name not in met:
        met.add(message.name)
        message = messages[message.parent]
    return message


def note_circle(message: Message, seen: set[str]) -> None:
    left = [message]
    while left:
        message = left.pop()
        seen.add(message.name)
        left += [reply for reply in message.replies if reply.name not in seen]
