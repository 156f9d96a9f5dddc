"""The formats that a recipe names instead of a row: a tree, speakers, a text that is ChatML."""

import inspect
import re
from collections.abc import Callable, Iterable, Iterator

from threetoe.data.recipes.columns import list_in, mapped, spread
from threetoe.data.recipes.tree import message_tree
from threetoe.messages import Unusable, is_blank

CHATML = re.compile(r"\s*<\|im_start\|>(\w+)\n((?:(?!<\|im_start\|>).)*?)<\|im_end\|>", re.DOTALL)


def chatml(rows: Iterable, columns, *, text: str = "text") -> Iterator:
    """Messages of a column whose text already is ChatML, so that any template can be used."""

    def change(row):
        return {"messages": chatml_messages(row[columns.of(row, text)], text)}

    return mapped(rows, change)


def chatml_messages(text, column: str) -> list[dict]:
    if is_blank(text):
        raise Unusable(f"{column} is empty")
    if not isinstance(text, str):
        raise Unusable(f"{column} is {type(text).__name__}, not text")
    messages, end = [], 0
    while match := CHATML.match(text, end):
        messages.append({"role": match[1], "content": match[2].removesuffix("\n")})
        end = match.end()
    if text[end:].strip():
        raise Unusable(f"{column} is not ChatML: <|im_start|>ROLE, a line break, text, <|im_end|>")
    return messages


def speakers(
    rows: Iterable, columns, *, turns: str, speaker: str, text: str, user: str, assistant: str,
    exchanges: int = 0,
) -> Iterator:  # fmt: skip
    """Conversations of a column `turns`, a list of {speaker, text}, with the two as roles.

    Neighbouring turns of one speaker are joined with a space, turns without a text left out, the
    assistant's turn at the start and the user's at the end too. With `exchanges` a row becomes
    conversations of so many questions and answers at most, 'my.json:7 (part 3 of 12)'.
    """
    roles = {user: "user", assistant: "assistant"}

    def change(where, row):
        said = list_in(row, columns.of(row, turns))
        messages = in_turn(message_of(turn, speaker, text, roles) for turn in said)
        step = 2 * exchanges or len(messages)
        parts = [messages[i : i + step] for i in range(0, len(messages), step)]
        places = [f"{where} (part {n} of {len(parts)})" for n in range(1, len(parts) + 1)]
        places = places if parts[1:] else [where]
        return [(p, {"messages": part}) for p, part in zip(places, parts, strict=True)]

    return spread(rows, change)


def message_of(turn, speaker: str, text: str, roles: dict[str, str]) -> tuple[str, str]:
    """(role, text) of a turn."""
    if not isinstance(turn, dict) or not {speaker, text} <= turn.keys():
        raise Unusable(f"a turn is not an object with {speaker} and {text}")
    if not isinstance(turn[speaker], str) or turn[speaker] not in roles:
        raise Unusable(f"{speaker} is {str(turn[speaker])[:40]!r}, not {' or '.join(roles)}")
    if not is_blank(turn[text]) and not isinstance(turn[text], str):
        raise Unusable(f"{text} of a turn is {type(turn[text]).__name__}, not text")
    return roles[turn[speaker]], turn[text]


def in_turn(said: Iterable[tuple[str, str]]) -> list[dict]:
    """user, assistant, user, assistant ...; Unusable when there is no question with an answer."""
    messages: list[dict] = []
    for role, text in said:
        if is_blank(text) or not messages and role == "assistant":
            continue
        if messages and messages[-1]["role"] == role:
            messages[-1]["content"] += f" {text.strip()}"
        else:
            messages.append({"role": role, "content": text.strip()})
    if len(messages) % 2:
        messages.pop()
    if not messages:
        raise Unusable("nobody is answered")
    return messages


NAMED: dict[str, Callable] = {
    "message-tree": message_tree,
    "speakers": speakers,
    "chatml": chatml,
}


def arguments_of(name: str) -> dict[str, inspect.Parameter]:
    """What a recipe can say of a format: its keyword arguments."""
    parameters = inspect.signature(NAMED[name]).parameters
    return {key: p for key, p in parameters.items() if p.kind is p.KEYWORD_ONLY}
