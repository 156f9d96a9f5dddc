"""make-dataset: questions and pairs from llama.cpp's server and from a run, resumed and counted."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import ROOT, run_script
from forked import run_python
from gguf_scripted import write_scripted
from llamacpp_server import Loaded
from openai_server import completion, served
from probes import TEMPLATES
from tokenizers_made import KINDS

from threetoe.commands.make_dataset.command import make_dataset
from threetoe.commands.make_dataset.interview import COLUMNS, SYSTEM
from threetoe.commands.make_dataset.passages import passages_of
from threetoe.commands.make_dataset.server import KEY, is_local
from threetoe.prompt.jinja import gguf_chat_template
from threetoe.prompt.template_file import read_template
from threetoe.prompt.tokenizer import marks_of, with_cuts

THINGS = "salt bread wine knife river garden market table onion stone".split()
BOOK = "\n\n".join(
    f"CHAPTER {n}\n\n" + " ".join(f"The {thing} of year {n} was good." for thing in THINGS)
    for n in range(1, 13)
)
PASSAGES = passages_of(BOOK)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """llama.cpp's server with a model that says 'Wagnt…?', a letter out of each of ten lots."""
    tokenizer = with_cuts(KINDS["qwen"]())
    ids = tokenizer.get_vocab()
    lots = ["WH", "ab", "cd", "ef", "gh", "ij", "kl", "mn", "op", "qr", "?"]
    steps = [[ids[letter] for letter in lot] for lot in lots]
    end = [[tokenizer.eos_token_id, ids['"']]]  # the second only where JSON is asked for
    path = tmp_path_factory.mktemp("gguf") / "model.gguf"
    jinja = gguf_chat_template(read_template(TEMPLATES["chatml"]), marks_of(tokenizer))
    write_scripted(path, tokenizer, "qwen", jinja, steps + end)
    loaded = Loaded(path, context=4096)
    yield loaded.server.listening_address + "/v1"


@pytest.fixture
def book(here, monkeypatch):
    """The current folder, with a book of twelve passages in it; no key in the environment."""
    monkeypatch.delenv(KEY, raising=False)
    Path("book.txt").write_text(BOOK, encoding="utf-8")
    assert len(PASSAGES) == 12
    return here


def make(*words, code=0):
    """What a call prints on standard error; it ends with the code."""
    done = CliRunner().invoke(make_dataset, [str(word) for word in words], obj=())
    assert done.exit_code == code, done.output
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.stderr


def interview(url, *words, code=0):
    asked = ["--base-url", url, "--model", "m"]
    return make("interview", "book.txt", "-o", "rows.jsonl", *asked, *words, code=code)


def topic(url, *words, code=0):
    asked = ["--base-url", url, "--model", "m"]
    return make("topic", "bread", "-o", "pairs.jsonl", *asked, *words, code=code)


def rows(name="rows.jsonl"):
    return [json.loads(line) for line in Path(name).read_text(encoding="utf-8").splitlines()]


def accounted(said):
    """(passages, rows, left out and not asked) as the account says."""
    passages, rows = map(int, re.search(r"(\d+) passages in .*?, (\d+) rows in", said).groups())
    rest = re.findall(r"^(\d+) (?:left out|not asked)", said, re.MULTILINE)
    return passages, rows, sum(map(int, rest))


def test_every_passage_gets_its_question_from_llama_cpp(server, book):
    said = interview(server, "--seed", 2)
    assert "12 to ask for, in 12 to 36 calls of m at http://127.0.0.1" in said
    made = rows()
    passages, count, rest = accounted(said)
    assert passages == 12 == count + rest
    assert count == len(made) >= 9  # the model is not warned of questions that it has asked
    assert len({row["question"] for row in made}) == len(made)
    for row in made:
        assert tuple(row) == COLUMNS
        assert row["question"].endswith("?")
        place = int(row["source"].removeprefix("book.txt: passage "))
        assert row["answer"] == PASSAGES[place - 1]


def test_a_second_call_asks_only_for_what_lacks(server, book):
    interview(server)
    first = Path("rows.jsonl").read_bytes()
    lines = first.splitlines(keepends=True)
    Path("rows.jsonl").write_bytes(b"".join(lines[:4]) + lines[4][:30])
    said = interview(server)
    assert "rows.jsonl: a half-written last line is dropped" in said
    assert "4 are in rows.jsonl already, 8 to ask for" in said
    assert Path("rows.jsonl").read_bytes().startswith(b"".join(lines[:4]))
    passages, count, rest = accounted(said)
    assert (passages, count) == (12, len(rows())) and count + rest == 12
    assert len({row["answer"] for row in rows()}) == count


def test_several_at_once_write_the_same_rows_in_the_books_order(server, book):
    interview(server, "--concurrency", 5)
    places = [int(row["source"].split()[-1]) for row in rows()]
    assert len(places) >= 9
    assert places == sorted(places)


def test_an_answer_that_is_no_question_is_asked_for_again_and_then_counted(book):
    """The wire says: nothing at first, then no question, then one; and never one for a passage."""
    tries = {}

    def answer(body, number):
        text = body["messages"][-1]["content"]
        passage = text.split("says next:")[1]
        tries.setdefault(passage, []).append(body["seed"])
        year = re.search(r"year (\d+)", passage)[1]
        said = ["", "I cannot.", f"Question: What of year {year}?"][len(tries[passage]) - 1]
        return 200, {}, completion("I cannot." if year == "7" else said)

    with served(answer) as (url, asked):
        said = interview(url)
    assert accounted(said) == (12, 11, 1)
    assert "1 left out: the answer ends in no question mark (first: passage 7: 'I cannot.')" in said
    assert rows()[0]["question"] == "What of year 1?"
    assert len(asked) == 36
    assert all(len(set(seeds)) == 3 for seeds in tries.values())


def test_the_passage_before_and_who_is_asked_stand_in_the_prompt(book):
    with served(lambda body, n: (200, {}, completion(f"Why {n}?"))) as (url, asked):
        interview(url, "--about", "the author is a chef")
    system, user = asked[2]["messages"]
    assert system["content"] == f"{SYSTEM}\nWho is interviewed: the author is a chef"
    assert user["content"].index(PASSAGES[1]) < user["content"].index(PASSAGES[2])
    assert PASSAGES[0] not in user["content"]
    assert asked[0]["path"] == "/v1/chat/completions"


def test_the_same_passage_twice_is_one_row(book):
    long = "It was so good in the garden. " * 20
    Path("book.txt").write_text(f"{long}\n\n{long}\n\n{long}And so on.", encoding="utf-8")
    with served(lambda body, n: (200, {}, completion(f"Why {n}?"))) as (url, asked):
        said = interview(url)
    assert len(asked) == 2
    assert accounted(said) == (3, 2, 1)
    assert "1 left out: the same text as an earlier passage (first: passage 2)" in said


def test_pairs_come_from_llama_cpp_by_its_json_schema(server, book):
    said = topic(server, "-n", 12)
    made = rows("pairs.jsonl")
    assert len(made) == 12
    assert len({row["concept"].lower() for row in made}) == 12
    assert all(list(row) == ["concept", "description"] for row in made)
    assert "12 pairs are wanted, 12 rows in pairs.jsonl" in said
    more = topic(server, "-n", 15)
    assert "12 of 15 pairs are there already, 3 to ask for" in more
    assert rows("pairs.jsonl")[:12] == made
    assert len(rows("pairs.jsonl")) == 15
    assert "nothing to ask for" in topic(server, "-n", 15)


def test_concepts_that_are_there_are_named_and_calls_that_bring_none_have_an_end(book):
    pair = '{"Concept": "Yeast", "Description": "It lets the dough rise."}'
    with served(lambda body, n: (200, {}, completion(f"Sure:\n```json\n[{pair}]\n```"))) as (
        url,
        asked,
    ):
        said = topic(url, code=1)
    assert rows("pairs.jsonl") == [{"concept": "Yeast", "description": "It lets the dough rise."}]
    assert len(asked) == 4
    assert "Yeast" not in asked[0]["messages"][1]["content"]
    assert asked[1]["messages"][1]["content"].endswith("give others:\nYeast")
    assert "3 left out: the concept is there already" in said
    assert "Error: 3 calls in a row brought no new pair (--retries 2)" in said


def test_a_setting_that_the_server_refuses_is_left_out_and_said(book):
    def answer(body, number):
        for name in ("max_tokens", "seed", "response_format", "temperature"):
            if name in body:
                return 400, {}, {"error": {"message": f"Unsupported parameter: '{name}'"}}
        pairs = [{"concept": f"c{number}{i}", "description": f"about {number} {i}"} for i in "ab"]
        return 200, {}, completion(json.dumps(pairs))

    with served(answer) as (url, asked):
        said = topic(url, "-n", 4)
    assert len(asked) == 6
    assert asked[-1]["max_completion_tokens"] == 1024
    assert said.count("the server refuses") == 4
    assert len(rows("pairs.jsonl")) == 4


REFUSALS = {
    401: ({"error": {"message": "Wrong key sk-secret"}}, "401: Wrong key ***; is the key in"),
    404: ({"error": {"message": "no model m"}}, "404: no model m; has it a model 'm' (--model)"),
    429: ({"error": {"message": "Slow down"}}, "429: Slow down; it asks to wait 0.01 seconds"),
    500: ({"detail": "out of memory"}, "500: out of memory"),
    400: ({"error": "context too long"}, "400: context too long"),
}


@pytest.mark.parametrize("status", REFUSALS)
def test_a_refusal_ends_in_a_line_and_keeps_the_rows(status, book, monkeypatch):
    monkeypatch.setenv(KEY, "sk-secret")
    body, words = REFUSALS[status]

    def answer(_, number):
        if number <= 2:
            return 200, {}, completion(f"Why {number}?")
        return status, {"Retry-After": "0.01"}, body

    with served(answer) as (url, asked):
        said = interview(url, code=1)
    assert asked[0]["key"] == "Bearer sk-secret"
    assert "sk-secret" not in said + Path("rows.jsonl").read_text(encoding="utf-8")
    (error,) = [line for line in said.splitlines() if line.startswith("Error: ")]
    assert error.startswith(f"Error: {url} answered {words}")
    assert accounted(said) == (12, 2, 10)
    assert "The same command goes on from there." in said
    assert len(rows()) == 2
    assert len(asked) == (6 if status in (429, 500) else 3)


def test_after_429_the_client_asks_again(book):
    def answer(_, number):
        if number % 2:
            return 429, {"Retry-After": "0.01"}, {"error": {"message": "Slow down"}}
        return 200, {}, completion(f"Why {number}?")

    with served(answer) as (url, _):
        interview(url)
    assert len(rows()) == 12


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("text/html", b"<html>Hello</html>"),
        ("application/json", b'{"hello": 1}'),
        ("application/json", b"{"),
    ],
)
def test_an_answer_that_is_no_completion_ends_in_a_line(kind, content, book):
    with served(lambda body, n: (200, {"Content-Type": kind}, content)) as (url, _):
        said = interview(url, code=1)
    assert not Path("rows.jsonl").exists()
    assert said.splitlines()[-1].startswith(f"Error: {url} gave an answer that is n")


def test_a_server_that_is_silent_ends_in_a_line(book):
    def answer(body, number):
        time.sleep(0.4)
        return 200, {}, completion("Why?")

    with served(answer) as (url, _):
        said = interview(url, "--timeout", "0.05", code=1)
    assert f"Error: {url} gave no answer in 0.05 seconds; see --timeout." in said


def test_what_cannot_be_right_is_refused_before_anything_is_asked(book, monkeypatch):
    wrong = {
        "--base-url http://127.0.0.1:1/v1 --model m": "nothing listens there",
        "--base-url https://api.example.com/v1 --model m": f"in the environment as {KEY}",
        "--base-url ftp://127.0.0.1 --model m": "no address such as",
        "--base-url http://me:sk-x@127.0.0.1/v1 --model m": f"put the key in {KEY}",
        "--base-url http://127.0.0.1:1/v1": "say which model",
        "--base-url http://127.0.0.1:99999/v1 --model m": "out of range",
        "--run nowhere": "--run nowhere is not a run folder",
        "--run nowhere --base-url http://127.0.0.1:1/v1": "both are given",
        "": "neither is given",
        "--base-url http://127.0.0.1:1/v1 --model m --min-chars 9 --max-chars 8": "--min-chars 9",
    }
    for words, part in wrong.items():
        said = make("interview", "book.txt", "-o", "rows.jsonl", *words.split(), code=2)
        assert [part in line for line in said.splitlines()].count(True) == 1, said
        assert "sk-x" not in said
    assert not Path("rows.jsonl").exists()


def test_a_package_that_is_missing_is_named_with_how_to_install_it(book, monkeypatch):
    Path("book.txt").write_bytes(b"%PDF-1.4\n")
    for name in ("openai", "pypdf"):
        monkeypatch.setitem(sys.modules, name, None)
    said = interview("http://127.0.0.1:1/v1", code=2)
    assert said.count('pip install -e ".[data]"') == said.count("\n") == 2


def test_a_file_of_another_kind_is_refused(server, book):
    files = {
        "other.jsonl": '{"prompt": "a", "completion": "b"}\n',
        "pairs.jsonl": '{"concept": "a", "description": "b"}\n',
        "broken.jsonl": '{"question": "a\n{"question": "b"}\n',
        "rows.json": "[]",
        "book2.jsonl": json.dumps(dict.fromkeys(COLUMNS, "a")) + "\n",
    }
    asked = ["--base-url", server, "--model", "m"]
    for name, text in files.items():
        Path(name).write_text(text, encoding="utf-8")
        said = make("interview", "book.txt", "-o", name, *asked, code=2)
        assert said.startswith("Error: --output") and said.count("\n") == 1, said
        assert Path(name).read_text(encoding="utf-8") == text


def test_a_dry_run_asks_nothing_and_shows_the_first_prompt(book):
    done = CliRunner().invoke(make_dataset, ["interview", "book.txt", "--dry-run"], obj=())
    assert done.exit_code == 0
    assert done.stdout.startswith(f"system:\n{SYSTEM}\n\nuser:\n")
    assert PASSAGES[0] in done.stdout and PASSAGES[1] not in done.stdout
    assert "12 passages of" in done.stderr
    done = CliRunner().invoke(make_dataset, ["topic", "bread", "--dry-run"], obj=())
    assert "The glossary is about: bread" in done.stdout
    assert "25 to ask for, in at least 3 calls" in done.stderr
    assert [path.name for path in book.iterdir()] == ["book.txt"]


def test_ctrl_c_keeps_the_rows_and_says_how_to_go_on(book):
    def answer(body, number):
        time.sleep(0 if number <= 3 else 30)
        return 200, {}, completion(f"Why {number}?")

    with served(answer) as (url, asked):
        command = ["make-dataset", "interview", "book.txt", "-o", "rows.jsonl"]
        running = subprocess.Popen(
            [sys.executable, "-m", "threetoe", *command, "--base-url", url, "--model", "m"],
            env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}, stderr=subprocess.PIPE,
            encoding="utf-8",
        )  # fmt: skip
        until = time.monotonic() + 30
        while len(asked) < 4 and time.monotonic() < until:
            time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=10)
    assert running.returncode == 130
    assert len(rows()) == 3
    assert accounted(said) == (12, 3, 9)
    assert said.splitlines()[-2:] == ["The same command goes on from there.", "Error: Stopped."]


@pytest.mark.slow
def test_a_run_of_ours_is_asked(tmp_path):
    """A run that has learned to ask one question asks it, and asks for no other."""
    row = {"prompt": "The question between:", "completion": "Why so?", "system": "Ask."}
    (tmp_path / "train.jsonl").write_text((json.dumps(row) + "\n") * 8, encoding="utf-8")
    (tmp_path / "book.txt").write_text("\n\n".join([BOOK[:320], BOOK[400:720]]), encoding="utf-8")
    train = (
        "--dataset train.jsonl --output-dir run --model tiny --max-steps 30 "
        "--learning-rate 5e-3 --per-device-train-batch-size 8 --gradient-accumulation-steps 1 "
        "--warmup-steps 2"
    )
    ask = (
        "make-dataset interview book.txt -o rows.jsonl --run run "
        "--system Ask. --max-tokens 40 --temperature 0 --min-chars 100 --max-chars 500"
    )
    run_script("train.py", *train.split(), cwd=tmp_path)
    done = run_python(["-m", "threetoe", *ask.split()], tmp_path)
    assert done.returncode == 0, done.stderr
    (made,) = rows(tmp_path / "rows.jsonl")
    assert made["question"] == "Why so?"
    assert accounted(done.stderr) == (2, 1, 1)


def test_only_addresses_around_this_machine_need_no_key():
    near = "127.0.0.1 localhost ::1 192.168.1.5 10.0.0.1 ollama box.local".split()
    far = "api.openai.com 8.8.8.8 example.org".split()
    assert [host for host in near + far if is_local(host)] == near
