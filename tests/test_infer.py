"""infer.py, run for real: the run's own prompt, only the answer printed."""

import json

import pytest
from conftest import run_script

from threetoe.infer import before_stop


@pytest.fixture(scope="session")
def answers(demo, workplace, tmp_path_factory):
    """The held-out rows' answers with and without the adapter, and what was printed."""
    found = {}
    for name, flag in (("after", "--adapter"), ("before", "--no-adapter")):
        path = tmp_path_factory.mktemp("answers") / f"{name}.jsonl"
        printed = run_script(
            "infer.py", "--run", "demo", "--file", "sentiment", flag, "--max-new-tokens", 12,
            "--output", path, cwd=workplace,
        )  # fmt: skip
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        found[name] = rows, printed
    return found


def share_right(rows):
    return sum(row["answer"] == row["expected"] for row in rows) / len(rows)


def test_the_base_answers_at_chance_and_the_run_knows_nine_of_ten(answers):
    assert len(answers["after"][0]) == len(answers["before"][0]) == 180
    assert share_right(answers["before"][0]) <= 0.4
    assert share_right(answers["after"][0]) >= 0.9


def test_the_share_that_is_exactly_right_is_printed(answers):
    rows, printed = answers["after"]
    right = sum(row["answer"] == row["expected"] for row in rows)
    assert f"{right} of 180 exactly right" in printed.stderr
    assert printed.stdout == ""


def test_only_the_answer_goes_to_standard_output(demo, workplace):
    question = "Classify the sentiment of the text."
    done = run_script(
        "infer.py", question, "--input", "The waiter was rude to us.", "--run", "demo",
        cwd=workplace,
    )  # fmt: skip
    assert done.stdout == "Negative\n"
    assert done.stderr == ""


def test_the_latest_run_is_asked_and_a_question_can_be_piped_in(demo, tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "mine").symlink_to(demo[0])
    done = run_script("infer.py", "--max-new-tokens", 4, cwd=tmp_path, input="Hello?\n")
    assert done.stdout.strip()


def test_sampling_with_a_seed_gives_the_same_answer_again(demo, workplace):
    flags = ["--run", "demo", "--temperature", 1.5, "--max-new-tokens", 12, "--no-adapter"]
    first, second = (run_script("infer.py", "Once", *flags, cwd=workplace).stdout for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    ("reply", "kept"),
    [
        ("Positive", "Positive"),
        ("Positive\n### Instruction:\nNext", "Positive"),
        ("A<|im_start|>B\n### Instruction:", "A"),
        ("\n### Instruction:", ""),
    ],
)
def test_an_answer_ends_before_its_first_stop_string(reply, kept):
    assert before_stop(reply, ["\n### Instruction:", "<|im_start|>"]) == kept


def test_every_problem_of_a_call_is_reported_at_once(tmp_path):
    done = run_script(
        "infer.py", "Hi", "--run", "nowhere", "--file", "x.jsonl", "--temperature", 9,
        "--output", "no/such/folder.jsonl", cwd=tmp_path, code=2,
    )  # fmt: skip
    problems = done.stderr.splitlines()
    assert len(problems) == 4
    for part in ("nowhere", "--file", "--temperature", "--output"):
        assert sum(part in problem for problem in problems) == 1
    assert list(tmp_path.iterdir()) == []


def test_an_output_file_is_never_overwritten(demo, workplace, tmp_path):
    path = tmp_path / "answers.jsonl"
    path.write_text("kept")
    run_script(
        "infer.py", "--run", "demo", "--file", "sentiment", "--output", path,
        cwd=workplace, code=2,
    )  # fmt: skip
    assert path.read_text() == "kept"


def test_a_question_longer_than_the_models_context_is_refused_and_long_ones_are_asked(
    three_steps, workplace
):
    flags = ["--run", "three", "--max-new-tokens", 4]
    done = run_script("infer.py", "a b c " * 900, *flags, cwd=workplace, code=2)
    assert "the model reads 2048 with the answer" in done.stderr
    assert run_script("infer.py", "a b c " * 600, *flags, cwd=workplace).stdout.strip()


def test_rows_longer_than_the_models_context_are_refused(tmp_path):
    done = run_script("train.py", "--max-seq-length", 4096, cwd=tmp_path, code=2)
    assert "--max-seq-length 4096: tiny reads at most 2048 tokens." in done.stderr


def test_rows_that_cannot_be_asked_are_named_and_answers_say_their_row(
    three_steps, workplace, tmp_path
):
    data = tmp_path / "mixed.json"
    data.write_text('[{"instruction": "a"},\n{"foo": 1},\n{"instruction": ""}]')
    done = run_script(
        "infer.py", "--run", "three", "--file", data, "--max-new-tokens", 2, cwd=workplace
    )
    assert f"1 dropped: instruction is empty (first: {data}:3)" in done.stderr
    assert f"(first: {data}:2)" in done.stderr
    (row,) = map(json.loads, done.stdout.splitlines())
    assert row["where"] == f"{data}:1"


def test_one_answer_can_be_written_to_a_file_too(three_steps, workplace, tmp_path):
    path = tmp_path / "answer.jsonl"
    flags = ["--run", "three", "--max-new-tokens", 2, "--output", path]
    assert run_script("infer.py", "Hi", *flags, cwd=workplace).stdout == ""
    assert json.loads(path.read_text(encoding="utf-8"))["messages"][0]["content"] == "Hi"
