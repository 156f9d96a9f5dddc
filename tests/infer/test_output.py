"""Answers to files: their order and formats, a call that was killed, rows that cannot be asked."""

import csv
import json
import signal
import subprocess
import sys
from itertools import islice, pairwise

import pytest
from conftest import ROOT, refused, run_script
from pyarrow import parquet

import infer
from threetoe import api
from threetoe.infer import infer as flow
from threetoe.infer import output
from threetoe.options.infer import InferConfig

ROWS = [
    {"instruction": "Say it. " + "word " * n, "output": "Yes"} for n in (40, 1, 20, 3, 9, 60, 2)
]


@pytest.fixture
def rows(here):
    (here / "rows.json").write_text(json.dumps(ROWS))
    return here / "rows.json"


def answered(run, output, *flags, **settings):
    asked = ["--run", run, "--file", "rows.json", "--max-new-tokens", 4, "--batch-size", 2]
    return run_script("infer.py", *asked, "--output", output, *flags, **settings)


def read_lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_answers_stand_in_the_order_of_the_questions_in_each_format(three_steps, rows, here):
    for name in ("a.jsonl", "b.json", "c.csv", "d.parquet"):
        answered(three_steps, name, cwd=here)
    lines = read_lines(here / "a.jsonl")
    assert [row["instruction"] for row in lines] == [r["instruction"] for r in ROWS]
    assert json.loads((here / "b.json").read_text(encoding="utf-8")) == lines
    texts = [row["answer"] for row in lines]
    assert [row["answer"] for row in parquet.read_table(here / "d.parquet").to_pylist()] == texts
    with (here / "c.csv").open(encoding="utf-8-sig", newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["answer"] for row in table] == texts
    assert table[0]["instruction"] == ROWS[0]["instruction"] and table[0]["expected"] == "Yes"
    assert list(here.glob("*.partial")) == []


def test_a_call_that_was_killed_goes_on_without_losing_or_repeating_a_row(three_steps, rows, here):
    answered(three_steps, "whole.jsonl", cwd=here)
    (here / "slow.py").write_text(
        "import os, signal\nleft = [5]\n\ndef map_reply(reply):\n    left[0] -= 1\n"
        "    if not left[0]:\n        os.kill(os.getpid(), signal.SIGKILL)\n    return reply\n"
    )
    asked = [sys.executable, ROOT / "infer.py", "--run", three_steps, "--file", "rows.json",
             "--max-new-tokens", 4, "--batch-size", 2, "--output", "part.jsonl"]  # fmt: skip
    (here / "same.py").write_text("def map_reply(reply):\n    return reply\n")
    killed = subprocess.run([*map(str, asked), "--plugin", "slow.py"], cwd=here)
    assert killed.returncode == -signal.SIGKILL
    partial = here / "part.jsonl.partial"
    head, *kept = partial.read_text(encoding="utf-8").splitlines()
    assert len(kept) == 4
    (line,) = refused(infer, *asked[2:])
    assert line.startswith("part.jsonl.partial is of other questions, or of another run or options")
    partial.write_text("\n".join([head, "{}", *kept, ""]), encoding="utf-8")
    (line,) = refused(infer, *asked[2:], "--plugin", "slow.py")
    assert line.startswith("part.jsonl.partial:2 is damaged: Object missing required field")
    assert line.endswith("Remove that line, and its question is asked again.")
    partial.write_text("\n".join([head, *kept, '{"number": 5, "ans']), encoding="utf-8")  # torn
    (here / "slow.py").write_text("def map_reply(reply):\n    return reply\n")
    done = answered(three_steps, "part.jsonl", "--plugin", "slow.py", cwd=here)
    assert "4 of 7 were answered before" in done.stderr
    assert read_lines(here / "part.jsonl") == read_lines(here / "whole.jsonl")


def test_the_fields_of_a_row_stand_beside_its_answer_in_each_format(three_steps, here):
    """Through each format in and out, with a field named like ours, one of several kinds, an empty
    one, and half a character."""
    rows = [
        {"question": f"Say {n}.", "answer": "Yes", "id": n, "tags": kind, "none": {}, "é": "\ud800"}
        for n, kind in enumerate((["a", 1], "b", {"c": None}))
    ]
    (here / "rows.json").write_text(json.dumps(rows))
    names = "a.jsonl", "b.json", "c.parquet", "d.csv", "e.jsonl"
    for before, name in pairwise(("rows.json", *names)):
        flags = ["--file", before, "--max-new-tokens", 4]
        run_script("infer.py", "--run", three_steps, *flags, "--output", name, cwd=here)
    first, *_ = lines = read_lines(here / "a.jsonl")
    assert list(first)[:7] == [*rows[0], "where"]
    assert (first["answer"], first["expected"], first["é"]) == ("Yes", "Yes", "?")
    assert first["model_answer"] and [row["tags"] for row in lines] == [r["tags"] for r in rows]
    assert {"model_model_answer", "model_where"} < read_lines(here / "e.jsonl")[0].keys()
    last = read_lines(here / "e.jsonl")
    assert [row["id"] for row in last] == ["0", "1", "2"]
    for name in "model_answer", "model_model_answer":
        assert [row[name] for row in last] == [row["model_answer"] for row in lines]
    piped = run_script(
        "infer.py", "--run", three_steps, "--file", "-", "--max-new-tokens", 4,
        cwd=here, input=(here / "rows.json").read_text(),
    )  # fmt: skip
    assert {"id": 2, "model_answer": lines[2]["model_answer"]}.items() <= next(
        row for row in map(json.loads, piped.stdout.splitlines()) if row["id"] == 2
    ).items()


def test_a_call_that_goes_on_samples_anew(three_steps, here):
    (here / "one.jsonl").write_text('{"instruction": "Say hi."}\n')
    config = InferConfig(
        run=three_steps, file="one.jsonl", output=here / "a.jsonl", n=2, batch_size=1,
        temperature=1.5, max_new_tokens=12,
    )  # fmt: skip
    job = flow.plan_inference(config)
    for count in (1, 2):  # answers, with those before
        begun = output.read_begun(job)
        left, *loaded = flow.load(job, begun)
        rows = output.gather(islice(flow.answer(left, *loaded), 1), job, begun)
        assert len({row["answer"] for row in rows}) == count


def test_two_calls_do_not_write_the_same_file(three_steps, rows, here):
    (here / "a.jsonl.partial").touch()  # of a call that was killed before its first line
    with output.hold(here / "a.jsonl"):
        (line,) = refused(infer, "--run", three_steps, "--file", rows, "--output", "a.jsonl")
    assert line == "--output a.jsonl: another call is writing there; name another place."
    answered(three_steps, "a.jsonl", cwd=here)
    assert len(read_lines(here / "a.jsonl")) == len(ROWS)


def test_what_lies_in_the_place_of_the_rows_is_not_touched(three_steps, rows, here):
    """A folder, a file of the user's, one that is no text, a link, and one that leads nowhere."""
    (here / "mine").write_text("mine")
    makes = (
        lambda path: path.mkdir(),
        lambda path: path.write_text("mine"),
        lambda path: path.write_bytes(b"\xff\n"),
        lambda path: path.symlink_to(here / "mine"),
        lambda path: path.symlink_to(here / "nowhere"),
    )
    for number, make in enumerate(makes):
        beside = here / f"{number}.csv.partial"
        make(beside)
        lines = refused(infer, "--run", three_steps, "--file", rows, "--output", f"{number}.csv")
        assert lines[0].startswith(f"{beside.name} is of other questions"), lines
    assert (here / "mine").read_text() == "mine"


def test_a_row_that_is_too_long_has_its_error_and_ends_nothing(three_steps, here):
    long = {"instruction": "word " * 3000, "output": "Yes"}
    (here / "rows.json").write_text(json.dumps([ROWS[1], long, ROWS[3]]))
    done = answered(three_steps, "a.jsonl", cwd=here)
    first, second, third = read_lines(here / "a.jsonl")
    assert second["answer"] == "" and "the model reads 2047" in second["error"]
    assert first["answer"] and third["answer"] and "error" not in first
    assert "1 of 3 rows could not be asked" in done.stderr


def test_several_answers_to_one_question_are_sampled(three_steps, here):
    asked = {"run": three_steps, "max_new_tokens": 8, "temperature": 1.5, "n": 3}
    answers = api.infer("Hello", **asked)
    assert len(answers) == 3 and len(set(answers)) > 1
    assert api.infer("Hello", **asked) == answers
    flags = ["--run", three_steps, "--max-new-tokens", 8, "--temperature", 1.5, "--n", 3]
    piped = run_script("infer.py", "Hello", *flags, cwd=here)
    assert [json.loads(line)["answer"] for line in piped.stdout.splitlines()] == answers
    (line,) = refused(infer, "Hello", "--run", three_steps, "--n", 2, "--top-p", "0.9")
    assert line.startswith(
        "--top-p 0.9, --n 2: changes nothing while every answer is the likeliest"
    )


def test_top_k_of_one_is_the_likeliest_answer_and_a_stop_text_ends_one(demo):
    asked = {"run": demo[0], "input": "The waiter was rude to us.", "max_new_tokens": 8}
    question = "Classify the sentiment of the text."
    assert api.infer(question, **asked, temperature=1.9, top_k=1) == ["Negative"]
    assert api.infer(question, **asked, stop=["gat"]) == ["Ne"]


def test_a_file_name_that_tells_no_format_is_refused(three_steps, rows, here):
    asked = ["--run", three_steps, "--file", "rows.json", "--output", "a.xlsx"]
    (line,) = refused(infer, *asked)
    assert line == "--output a.xlsx: its name ends in none of .jsonl, .json, .csv, .parquet."
