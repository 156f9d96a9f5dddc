"""Conversations that an export is compared with its run on: some of the run's own data, kept in
the run folder when it is trained.

prompts.jsonl holds up to 8 rows of the training data, word for word, and is never exported.
"""

import json
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from threetoe.errors import UserError
from threetoe.machine.records import read_lines
from threetoe.prompt.encode import encode, prompt_ids
from threetoe.prompt.tokenizer import encode_texts
from threetoe.run.contract import PROBES, rendered
from threetoe.run.fields import Ids, Message

FILE = "prompts.jsonl"
KEPT = 8
FEWEST = 8  # what a run has too few of is filled up with PROBES and QUESTIONS
LONGEST = 128  # tokens of a row that is kept, where there are such; what is longer is cut
ANSWERED = 16  # tokens of an answer that are compared
QUESTIONS = (
    "What is the capital of France?",
    "Write a short poem about the sea.",
    "Translate to German: The weather is nice today.",
    "List three fruits.",
    "How many legs have two spiders?",
    "Explain what a hash function does.",
    "Is this review positive or negative? The food was cold.",
    "用一句话介绍北京。",
)


class Prompt(NamedTuple):
    """`ids` are asked, `answer` are those of the data's own answer, if it has one; `messages` is
    None where no chat template makes the ids: whole texts, and rows that came as ids."""

    ids: list[int]
    answer: list[int]
    messages: list[dict] | None
    text: str = ""  # that makes the ids where no template does


def keep(training, indices, folder: Path) -> None:
    """Write prompts.jsonl: a short row of each eighth of what is trained."""
    with (folder / FILE).open("w", encoding="utf-8") as file:
        for conversation in training.conversations.chosen(short_rows(training, indices, KEPT)):
            file.write(json.dumps(conversation.messages, ensure_ascii=False) + "\n")


def short_rows(encoded, indices, count: int) -> set[int]:
    """The conversations' numbers of so many rows: of each part of the indices the first that is no
    longer than half of all rows are and than LONGEST tokens, or else the shortest."""
    import numpy

    lengths = encoded.lengths[indices]
    short = min(int(numpy.median(lengths)), LONGEST)
    chosen = set()
    for part in numpy.array_split(numpy.arange(len(indices)), count):
        if len(part):
            fits = numpy.flatnonzero(lengths[part] <= short)
            place = part[fits[0]] if len(fits) else part[lengths[part].argmin()]
            chosen.add(int(encoded.numbers[indices[place]]))
    return chosen


def read(folder: Path) -> list:
    """The rows of a run folder's prompts.jsonl; none where there is no such file."""
    rows = read_lines(folder / FILE, list[Message] | Ids)
    if [] in rows:
        raise UserError(f"{folder / FILE} is damaged: a conversation in it is empty.")
    return rows


def prompts_of(folder: Path, run, tokenizer) -> list[Prompt]:
    """At least 8 prompts: the run's own first, then what its template can render of ours."""
    template, marks = run.the_template(), run.the_marks()
    own = [as_prompt(row, template, marks, tokenizer) for row in read(folder)]
    others = [*PROBES, *([{"role": "user", "content": text}] for text in QUESTIONS)]
    missing = islice(rendered(template, marks, others), max(0, FEWEST - len(own)))
    return own + [as_prompt(messages, template, marks, tokenizer) for messages, _ in missing]


def as_prompt(row, template, marks, tokenizer) -> Prompt:
    if isinstance(row, dict):  # ids that a function brought
        return Prompt(row["input_ids"], [], None)
    if row[0]["role"] == "text":
        text = row[0]["content"]
        return Prompt(encode_texts([text], tokenizer)[0], [], None, text)
    answers = [place for place, message in enumerate(row) if message["role"] == "assistant"]
    last = answers[-1] if answers and answers[-1] == len(row) - 1 else len(row)
    ids = prompt_ids(template.prompt(row[:last], marks), tokenizer)
    whole = encode([template.pieces(row, marks)], tokenizer, len(ids) + ANSWERED)[0].input_ids
    return Prompt(ids, whole[len(ids) :] if last < len(row) else [], row[:last])
