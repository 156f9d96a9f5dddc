"""How a row becomes messages: formats are recognised from the row's keys."""

import re
from operator import index
from reprlib import repr as shortened

from threetoe.messages import IGNORED, Format, Unusable, is_blank

LONE_SURROGATE = re.compile("[\ud800-\udfff]")  # JSON can spell one, UTF-8 and tokenizers cannot


def alpaca(row: dict) -> list[dict]:
    """Alpaca's columns; and LLaMA-Factory's history, the [question, answer]s before."""
    user = {"role": "user", "content": text(row, "instruction")}
    if not is_blank(row.get("input")):
        user["input"] = text(row, "input")
    return [*system(row), *history(row), user, *answer(row, "output")]


def history(row: dict) -> list[dict]:
    messages = []
    for pair in row.get("history") or ():
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise Unusable("history is not a list of [question, answer]")
        for role, said in zip(("user", "assistant"), pair, strict=True):
            messages.append({"role": role, "content": text({"history": said}, "history")})
    return messages


def prompt_completion(row: dict) -> list[dict]:
    """Two texts; or, as TRL has them, two lists of messages."""
    asked, said = row["prompt"], row.get("completion")
    if isinstance(asked, list):
        before = turns(asked, "prompt", "role", "content")
    else:
        before = [{"role": "user", "content": text(row, "prompt")}]
    if isinstance(said, list):
        return [*system(row), *before, *turns(said, "completion", "role", "content")]
    return [*system(row), *before, *answer(row, "completion")]


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
    """The messages of a column, roles by their usual names; an answer's "weight" of 0 is kept."""
    if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
        raise Unusable(f"{column} is not a list of {{{role_key}, {text_key}}}")
    result = []
    for message in messages:
        given = message.get(role_key)
        role = ROLES.get(given) if isinstance(given, str) else None
        if given in TOOLS or message.get("tool_calls"):
            raise Unusable(f"{column} has calls of tools, which are not trained")
        if role is None:
            raise Unusable(f"{role_key} {shortened(given)} is not system, user or assistant")
        turn = {"role": role, "content": text(message, text_key, role == "system")}
        if role == "assistant" and is_unlearned(message.get("weight")):
            turn["weight"] = 0
        result.append(turn)
    answers = [turn for turn in result if turn["role"] == "assistant"]
    if answers and all("weight" in turn for turn in answers):
        raise Unusable("weight is 0 in all answers, so nothing is learned")
    return result


def is_unlearned(weight) -> bool:
    if weight in (0, 1, None):
        return weight == 0
    raise Unusable(f"weight is {shortened(weight)}, not 0 or 1")


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
    elif isinstance(value, list) and value and all(is_dict_with(part, "type") for part in value):
        value = text_of_parts(value, column)
    if not isinstance(value, str):
        raise Unusable(f"{column} is {type(value).__name__}, not text")
    if LONE_SURROGATE.search(value):
        raise Unusable(f"{column} has half a character (a lone surrogate)")
    return value


def text_of_parts(parts: list[dict], column: str) -> str:
    """The text of [{"type": "text", "text": ...}, ...]; Unusable with images in it."""
    for part in parts:
        if part["type"] != "text" or not isinstance(part.get("text"), str):
            raise Unusable(f"{column} has a part of type {shortened(part['type'])}, not text alone")
    return "".join(part["text"] for part in parts)


ROLES = {
    "system": "system", "user": "user", "human": "user", "assistant": "assistant",
    "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant", "model": "assistant",
}  # fmt: skip
TOOLS = ("tool", "function", "function_call", "observation")  # roles
READ_KEYS = frozenset("role content from value weight tool_calls".split())  # of a message
ABOUT = frozenset(  # columns that say something about a row and are no part of it
    "id idx index source url title author date created timestamp lang language meta metadata "
    "license".split()
)
FORMATS = {  # the first whose columns a row has
    "messages": Format(("messages",), chat),
    "sharegpt": Format(("conversations",), sharegpt, optional=("system",)),
    "alpaca": Format(("instruction",), alpaca, "output", ("input", "system", "history")),
    "prompt-completion": Format(("prompt",), prompt_completion, "completion", ("system",)),
    "question-answer": Format(("question",), question_answer, "answer", ("system",)),
    "text": Format(("text",), whole_text, alone=True),
}


def is_ready(row) -> bool:
    return "input_ids" in row


def ready_row(row) -> dict:
    """{"input_ids", "labels"} as lists of int, padding cut off; Unusable with the fault."""
    ids = whole_numbers(row, "input_ids")
    labels = whole_numbers(row, "labels")
    if len(labels) != len(ids):
        raise Unusable(f"labels has {len(labels)} values, input_ids {len(ids)}")
    start, end = attended(row, len(ids))
    ids, labels = ids[start:end], labels[start:end]
    if not ids:
        raise Unusable("input_ids is empty")
    if min(ids) < 0:
        raise Unusable("input_ids has a number below 0")
    if any(label < 0 and label != IGNORED for label in labels):
        raise Unusable(f"labels has a number below 0 that is not {IGNORED}")
    return {"input_ids": ids, "labels": labels}


def whole_numbers(row, column: str) -> list[int]:
    """A column's numbers, from a list, an array or a tensor."""
    value = row.get(column)
    if value is None:
        raise Unusable(f"has input_ids, but no {column}; {IGNORED} is for what is not learned")
    tolist = getattr(value, "tolist", None)  # of numpy's arrays and torch's tensors
    value = tolist() if tolist else value
    if not isinstance(value, (list, tuple)):
        raise Unusable(f"{column} is {type(value).__name__}, not a list of numbers")
    try:
        return [index(number) for number in value]
    except TypeError:
        raise Unusable(f"{column} has other things than whole numbers") from None


def attended(row, length: int) -> tuple[int, int]:
    """Where the tokens start and end that attention_mask lets through; what is outside is padding.

    Without a mask, all are.
    """
    if row.get("attention_mask") is None:
        return 0, length
    mask = whole_numbers(row, "attention_mask")
    if len(mask) != length or not set(mask) <= {0, 1}:
        raise Unusable("attention_mask is not a 1 or 0 for each of input_ids")
    if 1 not in mask:
        raise Unusable("attention_mask lets no token through")
    start, end = mask.index(1), length - mask[::-1].index(1)
    if 0 in mask[start:end]:
        raise Unusable("attention_mask has a 0 between tokens; only padding may be masked")
    return start, end
