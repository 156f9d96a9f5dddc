"""What recipes do to rows: trees, speakers, ChatML, codes and columns, and every faulty row."""

import random

import pytest
from sources_made import chatml, message

from threetoe.data.recipes.recipe import read_recipe
from threetoe.errors import UserError
from threetoe.messages import Skipped, Unusable

SPEAKERS = "{speakers: {turns: t, speaker: s, text: x, user: U, assistant: A, exchanges: '{n}'}}"


@pytest.fixture
def applied(tmp_path):
    """(where, what a recipe of these lines makes of rows), faults as 'Kind: reason'."""

    def apply(text, rows, *options, **more):
        (tmp_path / "r.yaml").write_text(f"source: a/b\n{text}", encoding="utf-8")
        recipe = read_recipe(tmp_path / "r.yaml", options)
        numbered = ((f"f:{n}", row) for n, row in enumerate(rows, 1))
        return [
            (where, f"{type(row).__name__}: {row}" if isinstance(row, Unusable) else row)
            for where, row in recipe.apply(numbered, **more)
        ]

    return apply


@pytest.fixture
def trees(applied):
    """(where, texts of the best path or fault) of rows of messages."""

    def read(rows):
        text = "options: {lang: {default: all}}\nformat: {message-tree: {lang: '{lang}'}}"
        return [
            (w, row if isinstance(row, str) else [m["content"] for m in row["messages"]])
            for w, row in applied(text, rows)
        ]

    return read


def test_the_best_ranked_path_is_taken_in_whatever_order_rows_come(trees):
    rows = [
        message("a", None, "Q"), message("a1", "a", "no rank"), message("a2", "a", "2nd", rank=1),
        message("a3", "a", "best", rank=0), message("a31", "a3", "later", rank=None),
        message("a32", "a3", "follow", rank=3), message("a321", "a32", "end"),
        message("a11", "a1", "off"), message("b", None, "R"), message("b1", "b", "first"),
        message("b2", "b", "second"),
    ]  # fmt: skip
    assert trees(rows) == [("f:1", ["Q", "best", "follow", "end"]), ("f:9", ["R", "first"])]
    for seed in range(5):
        random.Random(seed).shuffle(rows)
        found = [texts for _, texts in trees(rows)]
        assert ["Q", "best", "follow", "end"] in found
        assert len(found) == 2


def test_a_path_ends_with_an_answer(trees):
    rows = [message("a", None, "Q"), message("a1", "a", "A"), message("a11", "a1", "thanks")]
    assert trees(rows) == [("f:1", ["Q", "A"])]


def test_a_deep_tree_hits_no_limit(trees):
    depth = 20_000
    rows = [message("0", None, "Q", role="prompter")] + [
        message(str(n), str(n - 1), "x", role="assistant" if n % 2 else "prompter")
        for n in range(1, depth)
    ]
    ((_, texts),) = trees(rows)
    assert len(texts) == depth


FAULTY = {
    "root-only": ([message("a", None, "Q")], [("f:1", "Unusable: the tree has no reply")]),
    "root-is-assistants": (
        [message("aa", None, "Q"), message("b", "aa", "A")],
        [("f:1", "Unusable: the first message of the tree is the assistant's")],
    ),
    "empty-reply": (
        [message("a", None, "Q"), message("a1", "a", " ", rank=0), message("a2", "a", "A")],
        [("f:1", ["Q", "A"]), ("f:2", "Unusable: text is empty")],
    ),
    "empty-root": (
        [message("a", None, None), message("a1", "a", "A")],
        [("f:1", "Unusable: text is empty")],
    ),
    "text-is-a-list": (
        [message("a", None, ["Q"]), message("a1", "a", "A")],
        [("f:1", "Unusable: text is list, not text")],
    ),
    "no-such-role": (
        [message("a", None, "Q"), message("a1", "a", "A", role=["x"])],
        [("f:1", "Unusable: the tree has no reply"),
         ("f:2", "Unusable: role \"['x']\" is not prompter or assistant")],
    ),
    "same-role-below": (
        [message("a", None, "Q"), message("a1", "a", "A"), message("a2", "a1", "B")],
        [("f:1", ["Q", "A"])],
    ),
    "rank-is-no-number": (
        [message("a", None, "Q"), message("a1", "a", "A", rank="x"), message("a2", "a", "B")],
        [("f:1", ["Q", "B"]), ("f:2", "Unusable: rank is 'x', not a number")],
    ),
    "orphan-and-what-hangs-on-it": (
        [message("b1", "gone", "A"), message("b11", "b1", "B")],
        [("f:1", "Unusable: its parent_id is that of no message")],
    ),
    "circle": ([message("a", "a1", "Q"), message("a1", "a", "A")], []),
    "id-twice": (
        [message("a", None, "Q"), message("a1", "a", "A"), message("a1", "a", "B")],
        [("f:3", "Unusable: its message_id is that of an earlier message too"),
         ("f:1", ["Q", "A"])],
    ),
    "no-id": (
        [message("a", None, "Q") | {"message_id": None}], [("f:1", "Unusable: message_id is empty")]
    ),
    "deleted-root": (
        [message("a", None, "", deleted=True)],
        [("f:1", "Skipped: the first message of the tree is deleted or was not approved")],
    ),
    "deleted-or-refused-replies": (
        [message("a", None, "Q"), message("a1", "a", "", rank=0, deleted="True"),
         message("a2", "a", "no", rank=1, review_result=False), message("a3", "a", "A", rank=2)],
        [("f:1", ["Q", "A"])],
    ),
    "not-ready": (
        [message("a", None, "Q", tree_state="growing"),
         message("a1", "a", None, tree_state="growing")],
        [("f:1", "Skipped: tree_state is growing, not ready_for_export")],
    ),
    "faulty-before": ([Unusable("broken")], [("f:1", "Unusable: broken")]),
}  # fmt: skip


@pytest.mark.parametrize("case", FAULTY)
def test_messages_that_cannot_stand_in_a_tree_are_accounted_for(case, trees):
    rows, expected = FAULTY[case]
    assert trees(rows) == expected


def test_ranks_and_truths_of_a_csv_file_are_texts(trees):
    rows = [
        message("a", "", "Q", rank=""),
        message("a1", "a", "B", rank="1.0", deleted="False"),
        message("a2", "a", "A", rank="0.0", review_result="True"),
    ]
    assert trees(rows) == [("f:1", ["Q", "A"])]


def turns(*texts):
    return {"t": [{"s": who, "x": text} for who, text in (text.split(" ", 1) for text in texts)]}


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([turns("A Hi", "U one", "U two ", "A x", "A ", "A y", "U z")],
         [("f:1", ["one two", "x y"])]),
        ([turns("U 1", "A 2", "U 3", "A 4", "U 5", "A 6")],
         [("f:1 (part 1 of 2)", ["1", "2", "3", "4"]), ("f:1 (part 2 of 2)", ["5", "6"])]),
        ([turns("A Hi", "U one")], [("f:1", "Unusable: nobody is answered")]),
        ([turns("B Hi")], [("f:1", "Unusable: s is 'B', not U or A")]),
        ([{"t": []}], [("f:1", "Unusable: t is empty")]),
        ([{"t": "U: Hi"}], [("f:1", "Unusable: t is str, not a list")]),
        ([{"t": None}], [("f:1", "Unusable: t is NoneType, not a list")]),
        ([{"t": ["Hi"]}], [("f:1", "Unusable: a turn is not an object with s and x")]),
        ([{"t": [{"s": "U"}]}], [("f:1", "Unusable: a turn is not an object with s and x")]),
        ([{"t": [{"s": ["U"], "x": ""}]}], [("f:1", "Unusable: s is \"['U']\", not U or A")]),
        ([{"t": [{"s": "U", "x": 1}]}], [("f:1", "Unusable: x of a turn is int, not text")]),
        ([{"t": []}, {"u": 1}],
         [("f:1", "Unusable: t is empty"), ("f:2", "Unusable: no column 't'")]),
        ([Skipped("so")], [("f:1", "Skipped: so")]),
    ],
)  # fmt: skip
def test_speakers_become_roles_in_turn(rows, expected, applied):
    found = applied(f"options: {{n: {{default: 2}}}}\nformat: {SPEAKERS}", rows)
    told = [
        (w, row if isinstance(row, str) else [m["content"] for m in row["messages"]])
        for w, row in found
    ]
    assert told == expected


def test_an_episode_can_stay_whole(applied):
    rows = [turns("U 1", "A 2", "U 3", "A 4")]
    found = applied(f"options: {{n: {{default: 2}}}}\nformat: {SPEAKERS}", rows, ("n", "0"))
    assert [len(row["messages"]) for _, row in found] == [4]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (chatml("Hi", "a\n<b> {c}"), ["user: Hi", "assistant: a\n<b> {c}"]),
        ("<|im_start|>system\nS<|im_end|>" + chatml("Q", "A"),
         ["system: S", "user: Q", "assistant: A"]),
        (chatml("Q").rstrip() + "<|im_start|>assistant\nA<|im_end|>", ["user: Q", "assistant: A"]),
        ("Hi", "text is not ChatML: "), (chatml("Q") + "A", "text is not ChatML: "),
        ("<|im_start|>user\nQ<|im_start|>assistant\nA<|im_end|>", "text is not ChatML: "),
        (chatml("Q", "A")[:-5], "text is not ChatML: "),
        ("", "text is empty"), (None, "text is empty"), (7, "text is int, not text"),
    ],
)  # fmt: skip
def test_chatml_text_becomes_messages(text, expected, applied):
    ((_, row),) = applied("format: chatml", [{"text": text}])
    if isinstance(row, str):
        row = row.removeprefix("Unusable: ")[: len(expected)]
    else:
        row = [f"{m['role']}: {m['content']}" for m in row["messages"]]
    assert row == expected


ROW = "row: {instruction: 'Q: {q}', input: '{i?}', output: '{a}'}\n"


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"q": "{a} {q}", "i": "", "a": "1"},
         {"instruction": "Q: {a} {q}", "input": "", "output": "1"}),
        ({"q": 1, "a": 2.5}, {"instruction": "Q: 1", "input": None, "output": 2.5}),
        ({"Q": True, "A": "x", "I": None},
         {"instruction": "Q: True", "input": None, "output": "x"}),
        ({"q": ["a", 1], "a": ["b", "c"]}, {"instruction": "Q: a, 1", "input": None,
                                            "output": "b, c"}),
        ({"q": " ", "a": "1"}, "Unusable: q is empty"),
        ({"q": float("nan"), "a": "1"}, "Unusable: q is empty"),
        ({"q": {"a": 1}, "a": "1"}, "Unusable: q is dict, not text"),
        ({"q": [["a"]], "a": "1"}, "Unusable: q is list, not text"),
    ],
)  # fmt: skip
def test_columns_are_filled_in_once(row, expected, applied):
    assert applied(ROW, [row]) == [("f:1", expected)]


def test_a_column_is_needed_in_the_first_row_and_a_fault_later(applied):
    assert applied(ROW, [{"q": "1", "a": "2"}, {"q": "1"}])[1] == (
        "f:2", "Unusable: no column 'a'",
    )  # fmt: skip
    with pytest.raises(UserError, match=r"'r' needs a column 'q', .* Theirs: x, a\. Name yours"):
        applied(ROW, [{"x": "1", "a": "2"}])


def test_a_name_that_two_columns_have_is_ambiguous_and_an_exact_one_wins(applied):
    ((_, row),) = applied(ROW, [{"Q": "1", "q": "2", "a": "3"}])
    assert row["instruction"] == "Q: 2"
    with pytest.raises(UserError, match="needs a column 'qq'"):
        applied(ROW.replace("{q}", "{qq}"), [{"Qq": "1", "QQ": "2", "a": "3"}])


def test_questions_need_no_answers(applied):
    text = f"labels: {{a: {{0: no}}}}\n{ROW}".replace("0: no", "0: 'No'")
    rows = [{"q": "1", "a": -1}, {"q": "2", "a": 0}]
    assert [row["output"] for _, row in applied(text, rows, answered=False)] == [None, "No"]
    assert applied(text, [{"q": "1"}], answered=False) == [
        ("f:1", {"instruction": "Q: 1", "input": None})
    ]


@pytest.mark.parametrize(
    ("code", "text"),
    [(1, "Up"), (1.0, "Up"), ("1", "Up"), (" 1.0 ", "Up"), (True, "Up"), (-1, "Down"),
     ("-1.0", "Down"), ("x", "X"), (None, "Unusable: a is empty"), (float("nan"), "Unusable: a is"),
     ("", "Unusable: a is empty"), (3, "Unusable: a is 3, not one of 1, -1, x"),
     (1.5, "Unusable: a is 1.5, not"), ([1], "Unusable: a is [1], not"), (float("inf"), "Unusa")],
)  # fmt: skip
def test_codes_become_texts(code, text, applied):
    labels = "labels: {a: {'1': Up, -1: Down, x: X}}\n"
    ((_, row),) = applied(labels + ROW, [{"q": "1", "a": code}])
    told = row if isinstance(row, str) else row["output"]
    assert told.startswith(text)


def test_every_item_of_a_list_is_a_row(applied):
    rows = [{"q": "1", "a": ["x", "y"]}, {"q": "2", "a": []}, {"q": "3", "a": "z"}, Skipped("s")]
    found = applied(f"each: a\n{ROW}", rows)
    assert [(w, r if isinstance(r, str) else r["output"]) for w, r in found] == [
        ("f:1 (1 of 2)", "x"), ("f:1 (2 of 2)", "y"), ("f:2", "Unusable: a is empty"),
        ("f:3", "Unusable: a is str, not a list"), ("f:4", "Skipped: s"),
    ]  # fmt: skip


def test_rows_stream(tmp_path):
    (tmp_path / "r.yaml").write_text(f"source: a/b\neach: a\nskip: {{q: x}}\n{ROW}")

    def endless():
        while True:
            yield "w", {"q": "1", "a": ["2"]}

    rows = read_recipe(tmp_path / "r.yaml").apply(endless())
    assert [next(rows)[0] for _ in range(3)] == ["w (1 of 1)"] * 3
