"""What infer.py is asked: the question of the command line, a text piped in, or rows of --file."""

import re
import sys
from dataclasses import replace
from typing import NamedTuple

from threetoe.data.conversations import Conversation
from threetoe.data.read import read_conversations
from threetoe.errors import UserError
from threetoe.hooks.calls import Hooks
from threetoe.machine.terminal import say
from threetoe.options.infer import InferConfig


class Question(NamedTuple):
    messages: list[dict]
    expected: str | None  # the answer that a dataset's row brings
    where: str = ""  # my.json:3
    number: int = 0  # in the order they were given in; answers come shortest question first
    row: dict = {}  # of --file, as it stands there


def read_questions(config: InferConfig, hooks: Hooks) -> list[Question]:
    """The questions of --file, or the one that was asked or piped in."""
    if config.chat or config.web or config.serve:
        return no_questions(config)
    if config.file:
        if config.prompt:
            raise UserError(f"Both a question and --file {config.file} were given; choose one.")
        if config.input:
            raise UserError("--input goes with a question; with --file each row brings its own.")
        asked = replace(config, dataset=config.file)
        conversations, ledger = read_conversations(asked, hooks, answered=False)
        for line in ledger.remarks():
            say(line)
        return [
            with_system(as_question(conversation)._replace(row=row), config.system)
            for conversation, row in zip(conversations, conversations.rows(), strict=True)
        ]
    given = {"The question": config.prompt, "--input": config.input, "--system": config.system}
    for name, text in given.items():
        if re.search("[\ud800-\udfff]", text or ""):  # how Python hands on other bytes of a shell
            raise UserError(f"{name} is not UTF-8; give it in a file: --file FILE.")
    prompt = config.prompt
    if prompt is None and not sys.stdin.isatty():
        prompt = piped_in()
    if not prompt:
        raise UserError('Nothing is asked: python infer.py "your question", or --file FILE.')
    message = {"role": "user", "content": prompt}
    if config.input:
        message["input"] = config.input
    return [with_system(Question([message], None), config.system)]


def no_questions(config: InferConfig) -> list[Question]:
    """None yet: a conversation asks them. UserError where it cannot be had, or some are given."""
    names = {"prompt": "a question", "input": "--input", "file": "--file", "output": "--output"}
    names |= {n: f"--{n.replace('_', '-')}" for n in ("evaluate", "compare_base", "blind")}
    if given := [said for name, said in names.items() if getattr(config, name)]:
        flag = next(f"--{way}" for way in ("serve", "web", "chat") if getattr(config, way))
        raise UserError(f"{flag} asks for questions itself; leave out {', '.join(given)}.")
    if config.chat and not sys.stdin.isatty():
        raise UserError("--chat needs a terminal; --file FILE asks many questions without one.")
    return []


def piped_in() -> str:
    """The text of standard input; UserError when it is not UTF-8, whatever the terminal's is."""
    given = sys.stdin.buffer.read()
    try:
        return given.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise UserError(
            f"Standard input is not UTF-8 at byte {error.start}; put `iconv -f ENCODING` before it."
        ) from error


def as_question(conversation: Conversation) -> Question:
    """A conversation's last answer is what is expected, the rest is what is asked."""
    where, messages = conversation
    if messages[-1]["role"] == "assistant":
        return Question(messages[:-1], messages[-1]["content"], where)
    return Question(messages, None, where)


def with_system(question: Question, text: str | None) -> Question:
    if text is None:
        return question
    others = [m for m in question.messages if m["role"] != "system"]
    return question._replace(messages=[{"role": "system", "content": text}, *others])
