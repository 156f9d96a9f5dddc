"""Rows become conversations, and the ledger accounts for every row."""

import json

import pyarrow
import pytest
from conftest import refused
from pyarrow import parquet

import train
from threetoe.data.read import read_conversations
from threetoe.errors import UserError
from threetoe.hooks.load import load_plugins
from threetoe.options.train import TrainConfig

GOOD = {"instruction": "Say a.", "output": "a"}
LONE = "\ud83d"  # half of an emoji, as a cut JSON text may have it


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


def read(folder, rows, answered=True, name="rows.jsonl", **options):
    """The conversations and the ledger of rows, written to a file and read by its name."""
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / name).write_text(text, encoding="utf-8")
    config = TrainConfig(**{"dataset": name, "allow_dropped": 1.0, **options})
    return read_conversations(config, load_plugins(config), answered=answered)


def left_out(conversations):
    """What the log of the ledger has: (where, what, reason)."""
    log = (conversations.folder / "data.jsonl").read_text(encoding="utf-8")
    return [tuple(json.loads(line).values()) for line in log.splitlines()]


def messages_of(folder, *rows, **options):
    return [conversation.messages for conversation in read(folder, rows, **options)[0]]


def problem_of(folder, *rows, **options):
    with pytest.raises(UserError) as raised:
        read(folder, rows, **options)
    return str(raised.value)


@pytest.mark.parametrize(
    ("row", "messages"),
    [
        (GOOD, [user("Say a."), assistant("a")]),
        (GOOD | {"input": "b"}, [user("Say a.") | {"input": "b"}, assistant("a")]),
        (GOOD | {"input": ""}, [user("Say a."), assistant("a")]),
        (GOOD | {"input": " \n"}, [user("Say a."), assistant("a")]),
        (GOOD | {"input": None, "system": None}, [user("Say a."), assistant("a")]),
        (GOOD | {"input": float("nan")}, [user("Say a."), assistant("a")]),
        (GOOD | {"id": 7, "text": "all"}, [user("Say a."), assistant("a")]),
        (GOOD | {"system": "Be brief."},
         [{"role": "system", "content": "Be brief."}, user("Say a."), assistant("a")]),
        (GOOD | {"output": 3}, [user("Say a."), assistant("3")]),
        (GOOD | {"output": 0}, [user("Say a."), assistant("0")]),
        (GOOD | {"output": False}, [user("Say a."), assistant("False")]),
        ({"prompt": "q", "completion": "a"}, [user("q"), assistant("a")]),
        ({"messages": [user("q"), assistant("a")]}, [user("q"), assistant("a")]),
        ({"messages": [user("q"), assistant("a")] * 2}, [user("q"), assistant("a")] * 2),
        ({"messages": [{"role": "system", "content": ""}, user("q"), assistant("a")]},
         [{"role": "system", "content": ""}, user("q"), assistant("a")]),
        ({"messages": [user("q"), assistant("a")], "prompt": "no"}, [user("q"), assistant("a")]),
        ({"question": "q", "answer": "a"}, [user("q"), assistant("a")]),
        ({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
         [user("q"), assistant("a")]),
        ({"conversations": [user("q"), assistant("a")], "system": "s"},
         [{"role": "system", "content": "s"}, user("q"), assistant("a")]),
        ({"text": "t", "id": 3}, [{"role": "text", "content": "t"}]),
        ({"Instruction ": "Say a.", "OUTPUT": "a"}, [user("Say a."), assistant("a")]),
        (GOOD | {"history": [["q", "b"]]},
         [user("q"), assistant("b"), user("Say a."), assistant("a")]),
        ({"messages": [user([{"type": "text", "text": "q"}]), assistant("a")]},
         [user("q"), assistant("a")]),
        ({"prompt": [user("q")], "completion": [assistant("a")]}, [user("q"), assistant("a")]),
        ({"prompt": [user("q")], "completion": "a"}, [user("q"), assistant("a")]),
        ({"messages": [user("q"), assistant("b") | {"weight": 0}, user("q"), assistant("a")]},
         [user("q"), assistant("b") | {"weight": 0}, user("q"), assistant("a")]),
    ],
    ids=[
        "alpaca", "input", "empty-input", "blank-input", "null-input", "nan-input", "more-columns",
        "system", "number", "zero", "false", "prompt", "messages", "turns", "no-system",
        "messages-first", "question", "sharegpt", "sharegpt-roles", "text", "other-case",
        "history", "parts", "trl", "trl-text", "weight",
    ],
)  # fmt: skip
def test_a_row_becomes_messages(row, messages, here):
    assert messages_of(here, row) == [messages]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (GOOD | {"output": ""}, "output is empty"),
        (GOOD | {"output": " "}, "output is empty"),
        (GOOD | {"output": None}, "output is empty"),
        (GOOD | {"output": float("nan")}, "output is empty"),
        (GOOD | {"output": ["a"]}, "output is list, not text"),
        (GOOD | {"output": {"a": [{}]}}, "output is dict, not text"),
        (GOOD | {"instruction": LONE}, "instruction has half a character (a lone surrogate)"),
        ({"instruction": "Say a."}, "the last turn has no answer"),
        ({"other": "Say a."}, "no known columns among other"),
        ({"messages": "hello"}, "messages is not a list of {role, content}"),
        ({"messages": [["user", "q"]]}, "messages is not a list of {role, content}"),
        ({"messages": []}, "no user message"),
        ({"messages": [user("q")]}, "the last turn has no answer"),
        ({"messages": [assistant("a")]}, "turn 1 is the assistant's, expected the user's"),
        ({"messages": [user("q"), user("q")]}, "turn 2 is the user's, expected the assistant's"),
        ({"messages": [user("q"), {"role": "system", "content": "s"}, assistant("a")]},
         "a system message stands behind others"),
        ({"messages": [{"role": "tool", "content": "x"}]},
         "messages has calls of tools, which are not trained"),
        ({"messages": [user("q"), assistant(None) | {"tool_calls": [{"id": 1}]}]},
         "messages has calls of tools, which are not trained"),
        ({"messages": [user("q"), assistant("a") | {"weight": 0}]},
         "weight is 0 in all answers, so nothing is learned"),
        ({"messages": [user("q"), assistant("a") | {"weight": 0.5}]},
         "weight is 0.5, not 0 or 1"),
        (GOOD | {"history": ["q"]}, "history is not a list of [question, answer]"),
        ({"messages": [user([{"type": "image_url"}])]},
         "content has a part of type 'image_url', not text alone"),
        ({"messages": [{"content": "x"}]}, "role None is not system, user or assistant"),
        ({"messages": [{"role": "x" * 99}]},
         "role 'xxxxxxxxxxxx...xxxxxxxxxxxxx' is not system, user or assistant"),
        ({"messages": [user(None)]}, "content is empty"),
        ({"messages": [user([{"type": "text"}])]},
         "content has a part of type 'text', not text alone"),
    ],
    ids=lambda case: case if isinstance(case, str) else "",
)  # fmt: skip
def test_a_row_that_cannot_be_learned_is_dropped_with_its_reason(row, reason, here):
    conversations, ledger = read(here, [GOOD, row, GOOD])
    assert [c.where for c in conversations] == ["rows.jsonl:1", "rows.jsonl:3"]
    assert left_out(conversations) == [("rows.jsonl:2", "dropped", reason)]
    assert ledger.dropped == {reason: 1}
    assert (ledger.read, ledger.kept) == (3, 2)


def test_the_account_of_rows_adds_up_and_is_short(here):
    bad = [GOOD | {"output": [0] * n} for n in range(4)] + [GOOD | {"output": ""}] * 3
    roles = [{"messages": [{"role": f"role {n}", "content": "x"}]} for n in range(9)]
    conversations, ledger = read(here, [GOOD, *bad, *roles, GOOD])
    assert ledger.read == ledger.kept + ledger.faults == 18
    assert ledger.dropped["output is list, not text"] == 4
    assert len(left_out(conversations)) == 16
    lines = ledger.lines()
    assert lines[0] == "18 rows read from rows.jsonl, 2 to train on"
    assert lines[2] == "4 dropped: output is list, not text (first: rows.jsonl:2)"
    assert lines[-2] == "6 left out for 6 other reasons"
    assert lines[-1] == "1 repeats an earlier row"
    assert len(lines) == 9


def test_the_account_counts_labels_the_most_frequent_first(here):
    rows = [GOOD | {"output": text} for text in ["no", "yes", "yes", "no", "yes"]]
    assert read(here, rows)[1].lines()[1] == "labels: 3 yes, 2 no"


def test_the_account_names_six_labels_in_a_line_each_short(here):
    texts = [*"aabbccddeeffgghh", *["x\n" + "y" * 40] * 3]
    shown = read(here, [GOOD | {"output": text} for text in texts])[1].lines()[1]
    assert shown == f"labels: 3 x {'y' * 25}…, 2 a, 2 b, 2 c, 2 d, 2 e and 6 of 3 more"


def test_the_account_of_answers_that_are_no_labels_counts_none(here):
    rows = [GOOD | {"output": text} for text in "abcde"]
    assert len(read(here, rows)[1].lines()) == 1


def test_many_kinds_of_fault_are_counted_together_and_all_logged(here):
    rows = [{"messages": [{"role": f"role {n}", "content": "x"}]} for n in range(300)]
    conversations, ledger = read(here, [GOOD, *rows])
    assert ledger.faults == len(left_out(conversations)) == 300
    assert len(ledger.dropped) <= 101
    assert len({reason for _, _, reason in left_out(conversations)}) == 300


def test_more_faults_than_allowed_stop_with_the_flag_that_goes_on(here):
    rows = [*[GOOD] * 17, *[GOOD | {"output": ""}] * 3]
    problem = problem_of(here, *rows, allow_dropped=0.05)
    assert problem.splitlines() == [
        "rows.jsonl: 3 of 20 rows have faults (15.0 %); --allow-dropped 0.15 goes on without them.",
        "3 dropped: output is empty (first: rows.jsonl:18)",
    ]
    assert read(here, rows, allow_dropped=0.15)[1].kept == 17


def test_rows_left_out_on_purpose_are_no_faults(here):
    (here / "few.py").write_text(
        "seen = []\ndef map_messages(messages):\n    seen.append(1)\n"
        "    return messages if len(seen) < 3 else None\n"
    )
    _, ledger = read(here, [GOOD] * 20, plugin=("few.py",), allow_dropped=0.0)
    assert (ledger.kept, ledger.faults) == (2, 0)
    assert ledger.skipped == {"dropped by plugin few.py": 18}


def test_a_plugin_that_drops_a_row_is_named(here):
    (here / "short.py").write_text(
        "def map_messages(messages):\n"
        "    return messages if len(messages[0]['content']) < 9 else None\n"
    )
    rows = [GOOD, GOOD | {"instruction": "Say a, please."}]
    conversations, _ = read(here, rows, plugin=("short.py",))
    assert left_out(conversations) == [("rows.jsonl:2", "skipped", "dropped by plugin short.py")]


def test_what_plugins_leave_is_checked_again(here):
    (here / "cut.py").write_text("def map_messages(messages):\n    return messages[:1]\n")
    problem = problem_of(here, GOOD, plugin=("cut.py",))
    assert "after map_messages of plugins: the last turn has no answer" in problem


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("messages[1]['content'] += '\\udc00'", "'utf-8' codec can't encode"),
        ("messages[0]['when'] = {1}", "Object of type set is not JSON serializable"),
    ],
)
def test_what_a_plugin_puts_in_that_cannot_be_written_is_a_fault(code, said, here):
    (here / "odd.py").write_text(
        "def map_messages(messages):\n    if messages[1]['content'] == 'b':\n"
        f"        {code}\n    return messages\n"
    )
    conversations, account = read(here, [GOOD, GOOD | {"output": "b"}], plugin=("odd.py",))
    assert (account.kept, account.faults) == (1, 1)
    ((where, _, reason),) = left_out(conversations)
    assert where == "rows.jsonl:2"
    assert reason.startswith(f"its messages cannot be written: {said}")


def test_data_without_one_usable_row_says_why(here):
    problem = problem_of(here, GOOD | {"output": ""}, GOOD | {"output": []})
    assert problem.splitlines() == [
        "rows.jsonl: no row can be used.",
        "1 dropped: output is empty (first: rows.jsonl:1)",
        "1 dropped: output is list, not text (first: rows.jsonl:2)",
    ]


def test_missing_columns_are_named_with_the_flag_that_mends_it(here):
    assert problem_of(here, {"query": "q", "reply": "a"}) == (
        "rows.jsonl has the columns query, reply; expected messages or conversations or "
        "instruction + output or prompt + completion or question + answer or text. Name yours with "
        "--map instruction=COLUMN --map output=COLUMN; where no column has a task, "
        "--map input=COLUMN and --instruction TEXT."
    )
    assert "has the columns text, label;" in problem_of(here, {"text": "t", "label": 1})
    assert problem_of(here, {"prompt": "q", "reply": "a"}).endswith(
        "Name yours with --map completion=COLUMN."
    )
    assert "has the columns (none);" in problem_of(here, {})


@pytest.mark.parametrize(
    ("row", "pairs", "messages"),
    [
        ({"q": "q", "r": "a"}, "instruction=q output=r", [user("q"), assistant("a")]),
        ({"q": "q", "prompt": "x", "completion": "a"}, "prompt=q", [user("q"), assistant("a")]),
        (GOOD | {"input": "b"}, "instruction=input", [user("b"), assistant("a")]),
        (GOOD, "instruction=output output=instruction", [user("a"), assistant("Say a.")]),
        ({"text": "t"}, "prompt=text completion=text", [user("t"), assistant("t")]),
    ],
    ids=["both", "over-a-column-there", "input-moves", "swapped", "one-column-twice"],
)  # fmt: skip
def test_columns_are_renamed_by_map(row, pairs, messages, here):
    pairs = tuple(tuple(pair.split("=")) for pair in pairs.split())
    assert messages_of(here, row, map=pairs) == [messages]


@pytest.mark.parametrize(
    "row",
    [
        {"instruction": "q", "Output": "a"}, {"Instruction": "q", " output": "a", "INPUT": "i"},
        {"instruction": "q", "Instruction": "x", "OUTPUT": "a"},
    ],
)  # fmt: skip
def test_each_column_is_known_whatever_its_case(row, here):
    ((question, answer),) = messages_of(here, row)
    assert (question["content"], question.get("input"), answer) == (
        "q", row.get("INPUT"), assistant("a")
    )  # fmt: skip


def test_a_mapped_column_that_is_not_there_is_suggested(here):
    assert problem_of(here, GOOD | {"context": "b"}, map=(("input", "contxt"),)) == (
        "--map input=contxt: rows.jsonl has no column 'contxt'. Did you mean 'context'? "
        "Its columns: instruction, output, context."
    )


def test_every_wrong_map_is_told_and_case_is_no_fault(here):
    row = {"Guest asked": "q", "Reply": "a"}
    problem = problem_of(here, row, map=(("instruction", "guest"), ("output", "repl")))
    assert problem.splitlines() == [
        "--map instruction=guest: rows.jsonl has no column 'guest'. Its columns: Guest asked, "
        "Reply.",
        "--map output=repl: rows.jsonl has no column 'repl'. Did you mean 'Reply'? Its columns: "
        "Guest asked, Reply.",
    ]
    pairs = (("instruction", "guest asked"), ("output", "REPLY"))
    assert messages_of(here, row, map=pairs) == [[user("q"), assistant("a")]]


def test_an_instruction_is_that_of_all_rows(here):
    pairs = (("input", "text"), ("output", "label"))
    options = {"instruction": "Classify the review.", "map": pairs}
    rows = [{"text": "t", "label": 1}, {"text": "u", "label": 0}]
    asked = [user("Classify the review.") | {"input": row["text"]} for row in rows]
    assert messages_of(here, *rows, **options) == [
        [asked[0], assistant("1")], [asked[1], assistant("0")]
    ]  # fmt: skip
    problem = problem_of(here, *rows, instruction="x", map=(("instruction", "text"), *pairs))
    assert problem == (
        "--map instruction=text and --instruction: one column can have the name instruction."
    )


def test_what_is_not_used_of_rows_is_said(here):
    thought = assistant("a") | {"reasoning_content": "Hm.", "weight": 1, "name": None}
    _, ledger = read(here, [{"messages": [user("q"), thought], "tools": [], "id": 7}])
    assert ledger.lines()[-1] == "not used: tools, messages.reasoning_content"


def test_pairs_of_a_better_and_a_worse_answer_are_named(here):
    row = {"prompt": "q", "chosen": "a", "rejected": "b"}
    assert "pairs of a better and a worse answer, which are not trained" in problem_of(here, row)
    assert messages_of(here, row, map=(("completion", "chosen"),)) == [[user("q"), assistant("a")]]


def test_several_datasets_are_mixed_and_each_is_accounted_for(here):
    (here / "a:0.5").mkdir()
    for name, count in (("a.jsonl", 20), ("b.jsonl", 400), ("a:0.5/c.jsonl", 3)):
        rows = [GOOD | {"output": f"{name} {n}"} for n in range(count)] + [GOOD | {"output": ""}]
        (here / name).write_text("".join(json.dumps(row) + "\n" for row in rows))

    def mixed(*datasets, **options):
        config = TrainConfig(dataset=datasets, allow_dropped=1.0, **options)
        conversations, ledger = read_conversations(config, load_plugins(config))
        return [c.where for c in conversations], ledger

    asked = ("a.jsonl", "b.jsonl:0.3", "a:0.5")
    places, ledger = mixed(*asked)
    drawn = [place for place in places if place.startswith("b.jsonl:")]
    assert 90 < len(drawn) < 150
    assert len(places) == ledger.kept == 23 + len(drawn)
    assert ledger.read == ledger.kept + ledger.faults + sum(ledger.skipped.values()) == 426
    assert ledger.lines()[1] == (
        f"a.jsonl: 20 of 21 rows; b.jsonl: {len(drawn)} of 401 rows; a:0.5: 3 of 4 rows"
    )
    assert mixed(*asked)[0] == places
    assert mixed(*asked, seed=1)[0] != places
    assert len(mixed(*asked, max_samples=5)[0]) == 13
    with pytest.raises(UserError, match="--dataset-path: goes with one --dataset, not with 3; "):
        mixed(*asked, dataset_path="b.jsonl")


def test_a_question_needs_no_answer_and_keeps_one_that_is_there(here):
    rows = [{"instruction": "q"}, GOOD, GOOD | {"output": None}]
    asked = messages_of(here, *rows, answered=False)
    assert asked == [[user("q")], [user("Say a."), assistant("a")], [user("Say a.")]]


def test_csv_and_parquet_cells_become_the_same_conversations(here):
    table = {"instruction": ["q", "r"], "input": [None, "i"], "output": ["1", "2"]}
    parquet.write_table(pyarrow.table(table), "a.parquet")
    (here / "a.csv").write_text("instruction,input,output\r\nq,,1\r\nr,i,2\r\n")
    kept = []
    for name in ("a.csv", "a.parquet"):
        config = TrainConfig(dataset=name)
        kept.append(read_conversations(config, load_plugins(config)))
    assert kept[0][1].fingerprint == kept[1][1].fingerprint
    assert [len(conversations) for conversations, _ in kept] == [2, 2]


def test_the_fingerprint_changes_with_data_and_with_its_order(here):
    other = GOOD | {"output": "b"}
    prints = {read(here, rows)[1].fingerprint for rows in ([GOOD, other], [other, GOOD], [GOOD])}
    assert len(prints) == 3


def test_an_unknown_dataset_is_suggested(here):
    (line,) = refused(train, "--dataset", "sentimant")
    said = "No dataset named 'sentimant'. Did you mean 'sentiment'? Available: alpaca, "
    assert line.startswith(said)


def test_a_hub_id_that_cannot_be_reached_says_how_to_go_on(offline, here):
    (line,) = refused(train, "--dataset", "tatsu-lab/alpaca")  # which writes nothing here
    assert line.startswith("The dataset 'tatsu-lab/alpaca' is no file here and cannot be")
    assert line.endswith("--local-dir FOLDER writes one for --dataset FOLDER.")


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (1, "Positive"),
        (1.0, "Positive"),
        ("1", "Positive"),
        (True, "Positive"),
        (" -1.0", "Negative"),
        ("x", "Other"),
        ("inf", "Endless"),
        (float("inf"), "Endless"),
    ],
)
def test_codes_become_texts_however_they_are_written(code, text, here):
    labels = (("-1", "Negative"), ("1", "Positive"), ("x", "Other"), ("inf", "Endless"))
    (messages,) = messages_of(here, GOOD | {"output": code}, labels=labels)
    assert messages[-1] == assistant(text)


def test_a_code_that_labels_does_not_name_is_a_fault(here):
    rows = [GOOD | {"output": 1}, GOOD | {"output": 7}]
    conversations, _ = read(here, rows, labels=(("1", "Positive"),))
    reason = "output has a code that --labels does not name"
    assert left_out(conversations) == [("rows.jsonl:2", "dropped", reason)]


def test_answers_that_form_a_small_set_are_counted(here):
    rows = [GOOD | {"output": label} for label in ("Yes", "No", "Yes", "Yes")]
    assert read(here, rows)[1].labels() == {"Yes": 3, "No": 1}
    assert read(here, rows[:2])[1].labels() == {}  # two answers of two rows are no set
    assert read(here, [GOOD | {"output": str(n)} for n in range(99)] * 3)[1].labels() == {}


def test_what_was_read_goes_with_the_last_who_needs_it(here):
    conversations = read(here, [GOOD])[0]
    folder = conversations.folder
    assert folder.is_dir()
    del conversations
    assert not folder.exists()
