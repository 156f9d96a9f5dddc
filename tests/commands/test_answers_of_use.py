"""What is taken for a question or a pair of use, and why other answers are not."""

import json

import pytest

from threetoe.commands.make_dataset.interview import fault_of_question, stripped
from threetoe.commands.make_dataset.topic import fault_of_pair, pairs_in, schema_of

TAKEN_OFF = {
    "Why?": "Why?",
    "Question: Why?": "Why?",
    "**Question:** Why?": "Why?",
    '"Why?"': "Why?",
    "“为什么？”": "为什么？",
    "问题：为什么？": "为什么？",
    "Here is a question:\n\nWhy?": "Why?",
    "Why?\nBecause.": "Why?\nBecause.",
    "": "",
}


@pytest.mark.parametrize(("answer", "question"), TAKEN_OFF.items())
def test_what_models_put_around_a_question_is_taken_off(answer, question):
    assert stripped(answer) == question


NO_USE = {
    "": "the answer is empty",
    "?!?": "the answer is empty",
    "Why?\nBecause?": "the answer has several lines",
    "I cannot.": "the answer ends in no question mark",
    f"Why {'so ' * 100}?": "the question is longer than 300 characters",
    "Did they say that the salt of year 1 was good?": "the question repeats the passage",
    "why, so?": "asked already",
}  # fmt: skip


@pytest.mark.parametrize(("question", "problem"), NO_USE.items())
def test_a_question_of_no_use_has_its_reason(question, problem):
    passage = "They said that the salt of year 1 was good and the bread was not."
    assert fault_of_question(question, passage, {"why so"}) == problem
    assert fault_of_question("What of the salt of year 1?", passage, {"why so"}) is None


def test_a_chinese_question_that_repeats_its_passage_is_of_no_use():
    passage = "我在厨房里学会了怎么切洋葱，那是很久以前的事。"
    repeated = fault_of_question("我在厨房里学会了怎么切洋葱吗？", passage, set())
    assert repeated == "the question repeats the passage"
    assert fault_of_question("你是怎么成为厨师的？", passage, set()) is None


PAIR = {"concept": "Yeast", "description": "It lets the dough rise."}
SHOWN = {
    "an object": json.dumps({"pairs": [PAIR]}),
    "a list": json.dumps([PAIR]),
    "fenced": f"Sure! [Here]\n```json\n{json.dumps([PAIR], indent=2)}\n```\nMore?",
    "a line each": f"{json.dumps(PAIR)}\n",
    "other names": json.dumps({"Data": [{name.title(): f" {t} " for name, t in PAIR.items()}]}),
    "cut off": json.dumps({"pairs": [PAIR, PAIR]})[:-30],
}  # fmt: skip


@pytest.mark.parametrize("answer", SHOWN.values(), ids=SHOWN)
def test_pairs_are_found_however_they_are_shown(answer):
    assert pairs_in(answer) == [PAIR]


def test_an_answer_without_pairs_has_none():
    for answer in ("", "I cannot.", "[" * 2000, '{"concept": "a"}', "[1, [2]]"):
        assert pairs_in(answer) == []


SAME = "the description is the concept again"


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({}, None),
        ({"concept": " "}, "concept or description is empty"),
        ({"description": "yeast!"}, "the description has not 8 to 1000 characters"),
        ({"concept": "x" * 101}, "the concept has not 1 to 100 characters"),
        ({"concept": "The yeast", "description": "the yeast."}, SAME),
        ({"concept": "ＲＹＥ  bread."}, "the concept is there already"),
    ],
)  # fmt: skip
def test_a_pair_of_no_use_has_its_reason(changes, problem):
    assert fault_of_pair(PAIR | changes, {"rye bread"}) == problem


def test_the_schema_asks_for_at_most_the_pairs_that_lack():
    assert schema_of(3)["schema"]["properties"]["pairs"]["maxItems"] == 3
