"""Which answers are a question of use, and what is taken off them first."""

import re

from threetoe.row_file import folded

LONGEST = 300  # characters of a question
RUN = 8  # words in a row that are a repetition
LABEL = re.compile(r"(?:\W*)(?:interviewer|question|q|frage|问题|问|問題|问句)\W*[:：]\W*", re.I)
AROUND = "\"'“”‘’«»「」『』*_` "
WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W_]+")


def repaired(answer: str) -> str:
    """An answer without what models like to put around a question."""
    lines = [line.strip() for line in answer.splitlines() if line.strip()]
    if len(lines) == 2 and lines[0].endswith((":", "：")):
        lines = lines[1:]  # "Here is a question:"
    question = LABEL.sub("", "\n".join(lines), count=1) if lines else ""
    return question.strip(AROUND)


def problem_of(question: str, passage: str, asked: set[str]) -> str | None:
    """Why a question is no use; None where it is."""
    if not folded(question):
        return "the answer is empty"
    if "\n" in question:
        return "the answer has several lines"
    if not question.endswith(("?", "？", "؟")):
        return "the answer ends in no question mark"
    if len(question) > LONGEST:
        return f"the question is longer than {LONGEST} characters"
    if repeats(question, passage):
        return "the question repeats the passage"
    return "asked already" if folded(question) in asked else None


def repeats(question: str, passage: str) -> bool:
    """Whether half of a question's words stand in runs of eight that the passage has too."""
    asked, said = (WORD.findall(text.casefold()) for text in (question, passage))
    runs = {tuple(said[place : place + RUN]) for place in range(len(said) - RUN + 1)}
    taken = set()
    for place in range(len(asked) - RUN + 1):
        if tuple(asked[place : place + RUN]) in runs:
            taken.update(range(place, place + RUN))
    return bool(taken) and len(taken) >= len(asked) / 2
