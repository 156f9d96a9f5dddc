"""infer.py --chat in a real terminal, and a conversation that is taken back, grows and is kept."""

import json
import os
import signal
import sys
from io import StringIO

import pexpect
import pytest
from conftest import ROOT, refused

import infer
from threetoe.errors import UserError
from threetoe.infer import conversation
from threetoe.infer import infer as flow
from threetoe.infer.chat import Chat
from threetoe.options.infer import InferConfig

READY = r"\x1b\[\?25h"  # the cursor is shown: a line can be typed


@pytest.fixture(scope="module")
def loaded(three_steps):
    return conversation.load(InferConfig(run=three_steps, web=True, max_new_tokens=6))


@pytest.fixture
def talk(loaded):
    return Chat(loaded)


def questions(talk):
    return [turn["content"] for turn in talk.turns if turn["role"] == "user"]


def test_a_conversation_at_a_terminal(three_steps, tmp_path):
    terminal = pexpect.spawn(
        sys.executable, [str(ROOT / "infer.py"), "--run", str(three_steps)], cwd=tmp_path,
        env={**os.environ, "PROMPT_TOOLKIT_NO_CPR": "1", "TERM": "xterm"}, encoding="utf-8",
        timeout=120, dimensions=(40, 200),
    )  # fmt: skip

    def say(line, *then):
        for pattern in (READY, *then):
            terminal.expect(pattern)
        terminal.sendline(line)

    terminal.expect("/help lists")
    say("/set max_new_tokens 4")
    say("Hello there")
    say("/set temperature x")
    say("/save chats.jsonl", "not a valid number")
    terminal.expect(READY)
    terminal.sendeof()
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0
    (row,) = map(json.loads, (tmp_path / "chats.jsonl").read_text(encoding="utf-8").splitlines())
    asked, answered = row["messages"]
    assert asked == {"role": "user", "content": "Hello there"} and answered["content"]


def test_ctrl_c_ends_the_answer_and_keeps_what_was_shown(talk, monkeypatch):
    class Terminal(StringIO):
        def write(self, text):
            begun = self.getvalue()
            super().write(text)
            if not begun:
                os.kill(os.getpid(), signal.SIGINT)

    talk.take("/set max_new_tokens 400")
    monkeypatch.setattr(sys, "stdout", terminal := Terminal())
    talk.take("Tell me a story.")
    _, answer = talk.turns
    assert terminal.getvalue() == answer["content"] + " [stopped]\n"


def test_each_turn_is_asked_with_those_before_it(talk, capsys):
    talk.take("Hello")
    talk.take("And you?")
    shown = capsys.readouterr().out
    answers = [turn["content"] for turn in talk.turns[1::2]]
    assert shown == "".join(f"{answer}\n" for answer in answers)
    fitted = conversation.fitted(talk.loaded, talk.turns[:3], talk.config)
    _, model, tokenizer, _ = talk.loaded
    (alone,) = flow.answer(fitted.job, model, tokenizer, fitted.prompts)
    assert alone.text == answers[1]


def test_turns_are_taken_back_and_asked_again(talk):
    for line in ("One", "Two", "/undo", "/set temperature 1.5", "Three"):
        talk.take(line)
    assert questions(talk) == ["One", "Three"]
    talk.take("/retry")
    assert (questions(talk), talk.config.seed) == (
        ["One", "Three"],
        talk.loaded.job.config.seed + 1,
    )
    talk.take("/reset")
    assert talk.turns == []
    for command in ("/retry", "/undo"):
        with pytest.raises(UserError, match=f"{command}: nothing has been asked"):
            talk.take(command)


def test_the_likeliest_answer_is_said_to_be_the_same_again(talk, capsys):
    for line in ("Hello", "/retry"):
        talk.take(line)
    assert "[the likeliest answer again; /set temperature 0.7" in capsys.readouterr().err
    assert questions(talk) == ["Hello"]


def test_the_bare_base_and_another_system_text_answer_on_demand(talk):
    talk.take("/base")
    assert not talk.config.adapter
    talk.take("/system Be brief.")
    turns = [{"role": "user", "content": "Hello"}]
    job, *_ = conversation.fitted(talk.loaded, turns, talk.config)
    assert job.questions[0].messages[0] == {"role": "system", "content": "Be brief."}
    talk.take("/system")
    assert talk.config.system is None


def test_where_there_is_no_room_whole_turns_are_left_out_from_the_front(talk, capsys):
    talk.loaded = talk.loaded._replace(window=150)
    for number in range(6):
        talk.take(f"Question {number}: {'word ' * 12}")
    job, (prompt,), left_out, _ = conversation.fitted(talk.loaded, talk.turns[:-1], talk.config)
    asked = job.questions[0].messages
    assert len(prompt) <= 150 - 6 and asked[0]["role"] == "user" and left_out
    assert "earlier turns left out" in capsys.readouterr().err
    assert len(questions(talk)) == 6  # all of them are kept


def test_a_question_that_is_too_long_is_no_turn(talk):
    with pytest.raises(UserError, match="reads"):
        talk.take("word " * 3000)
    assert talk.turns == []


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("/nope", "No command named '/nope'"),
        ("/set warmth 1", "No setting named 'warmth'"),
        ("/set temperature x", "not a valid number"),
        ("/save", "keeps a conversation, once something has been said"),
    ],
)
def test_a_command_that_is_wrong_says_so(talk, line, problem):
    with pytest.raises(UserError, match=problem):
        talk.take(line)


def test_a_conversation_is_added_to_no_other_file_than_jsonl_and_through_no_link(talk, here):
    talk.turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes"}]
    (here / "rows.json").write_text("[]")
    (here / "link.jsonl").symlink_to(here / "rows.json")
    for name in ("rows.json", "link.jsonl"):
        with pytest.raises(UserError, match="a .jsonl file is needed, and none that is a link"):
            talk.take(f"/save {name}")
    assert (here / "rows.json").read_text() == "[]"


def test_talking_goes_with_no_question_and_needs_a_terminal(three_steps):
    asked = ["--chat", "--run", three_steps]
    assert refused(infer, *asked) == [
        "--chat needs a terminal; --file FILE asks many questions without one."
    ]
    (line,) = refused(infer, *asked, "Hello", "--file", "x.json")
    assert line == "--chat asks for questions itself; leave out a question, --file."
