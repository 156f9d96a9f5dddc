"""A conversation in the terminal, under the template that the run was trained with."""

import json
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import click

from threetoe.errors import Failure, Stopped, UserError, unknown
from threetoe.infer import conversation, several
from threetoe.infer.infer import Answer, answer, check_weights
from threetoe.infer.output import say_about
from threetoe.infer.questions import Question, with_system
from threetoe.machine.terminal import say, visible
from threetoe.options.infer import InferConfig


def is_meant(config: InferConfig) -> bool:
    """Whether to talk: --chat says so, or nothing is asked at a terminal."""
    asked = config.prompt is not None or config.file or config.output or config.web
    asked = asked or config.evaluate or config.compare_base or config.blind
    return config.chat or not asked and sys.stdin.isatty() and sys.stdout.isatty()


def chat(config: InferConfig) -> None:
    """Talk until Ctrl-D; what a line that begins with / does, /help says."""
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import WordCompleter

    config = replace(config, chat=True)
    calls, share = several.each(config) if config.runs else {"": config}, several.Share(keeps=True)
    talks = {name: Chat(conversation.load(call, share)) for name, call in calls.items()}
    names = [f"/{name}" for name in COMMANDS]
    lines = PromptSession(
        completer=WordCompleter(names, sentence=True), complete_while_typing=False
    )
    for talk in talks.values():
        job = talk.loaded.job
        say(f"{job.folder}, a fine-tune of {job.run.options['model']}.")
    say("/help lists what else there is.")
    while True:
        try:
            line = lines.prompt(f"{'' if talk.config.adapter else 'base '}> ")
            for name, talk in talks.items():
                if name and line.strip():
                    say(f"{name}:")
                talk.take(line)
        except Stopped:
            raise
        except (UserError, Failure) as error:  # a plugin's too: what was said so far stays
            say("\n".join(error.problems))
        except KeyboardInterrupt:  # at the prompt: the line is dropped
            continue
        except EOFError:
            break
    for talk in talks.values():
        talk.loaded.job.hooks.end()


class Chat:
    """The turns of a conversation, and what its next answer is given with."""

    def __init__(self, loaded: conversation.Loaded):
        self.loaded, self.config = loaded, loaded.job.config
        self.turns: list[dict] = []

    def take(self, line: str) -> None:
        """A line of the user: a question, or a command."""
        name, _, rest = line.strip().partition(" ")
        if name.startswith("/"):
            if name[1:] not in COMMANDS:
                raise unknown("command", name, [f"/{known}" for known in COMMANDS])
            COMMANDS[name[1:]](self, rest.strip())
        elif line.strip():
            self.ask({"role": "user", "content": line.strip()})

    def ask(self, question: dict) -> None:
        """Answer a question as it comes. Ctrl-C ends the answer: what was shown of it is kept."""
        asked = [*self.turns, question]
        _, model, tokenizer, _ = self.loaded
        job, prompts, left_out, room = conversation.fitted(self.loaded, asked, self.config)
        if left_out:
            say(f"[{left_out} of the earlier turns left out: {room} tokens are read]")
        shown: list[str] = []
        whole = job.hooks.has("map_reply")  # plugins have a word in it, so it is shown at once
        try:
            show = None if whole else partial_to(shown)
            (given,) = answer(job, model, tokenizer, prompts, show)
        except KeyboardInterrupt:
            given = Answer(job.questions[0], "".join(shown))
            print(" [stopped]", end="")
        reply = given.text
        print(visible(reply) if whole else "")
        say_about(given, self.config.max_new_tokens)
        if reply:
            self.turns = [*asked, {"role": "assistant", "content": reply}]

    def help(self, rest: str) -> None:
        """this list"""
        width = max(map(len, COMMANDS))
        for name, command in COMMANDS.items():
            say(f"/{name.ljust(width)}  {command.__doc__}")
        say("Ctrl-C stops an answer, Ctrl-D ends the conversation.")

    def reset(self, rest: str) -> None:
        """begin anew"""
        self.turns = []

    def undo(self, rest: str) -> None:
        """take back the last question and its answer"""
        self.last_question("/undo")
        del self.turns[-2:]

    def retry(self, rest: str) -> None:
        """ask the last question again, with the next seed"""
        question = self.last_question("/retry")
        self.config = replace(self.config, seed=self.config.seed + 1)
        *self.turns, _, before = self.turns
        self.ask(question)
        if self.turns[-1:] == [before] and not self.config.temperature:
            say("[the likeliest answer again; /set temperature 0.7 is for another]")

    def last_question(self, command: str) -> dict:
        if not self.turns:
            raise UserError(f"{command}: nothing has been asked yet.")
        return self.turns[-2]

    def system(self, rest: str) -> None:
        """the system text from now on: /system Be brief. Without a text it is the run's own"""
        self.config = replace(self.config, system=rest or None)

    def base(self, rest: str) -> None:
        """ask the bare base, or again the run"""
        config = replace(self.config, adapter=not self.config.adapter)
        check_weights(self.loaded.job.folder, self.loaded.job.run, config)
        self.config = config

    def set(self, rest: str) -> None:
        """how answers are given: /set temperature 0.7; alone it shows what is set"""
        known = {f.name: f for f in fields(InferConfig) if f.metadata.get("group") == "Answer"}
        del known["n"]  # one answer a turn
        name, _, value = rest.partition(" ")
        name = name.replace("-", "_")
        if not name:
            say(", ".join(f"{name} {getattr(self.config, name)}" for name in known))
        elif name not in known:
            raise unknown("setting", name, known)
        else:
            try:
                value = known[name].metadata["type"].convert(value.strip(), None, None)
            except click.BadParameter as error:
                raise UserError(f"/set {name}: {error.message}") from None
            self.config = replace(self.config, **{name: value})

    def save(self, rest: str) -> None:
        """add the conversation to a file, as a row to train on: /save chats.jsonl"""
        if not rest or not self.turns:
            raise UserError("/save FILE keeps a conversation, once something has been said.")
        path = Path(rest).expanduser()
        if path.suffix != ".jsonl" or path.is_symlink():
            raise UserError(f"/save {rest}: a .jsonl file is needed, and none that is a link.")
        messages = with_system(Question(self.turns, None), self.config.system).messages
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"messages": messages}, ensure_ascii=False) + "\n")
        except OSError as error:
            raise UserError(f"/save {rest}: {error.strerror}.") from error
        say(f"added to {path}")


COMMANDS: dict[str, Callable] = {
    name: getattr(Chat, name) for name in "help retry undo reset system base set save".split()
}


def partial_to(shown: list[str]) -> Callable:
    """What shows the parts of an answer as they come, and keeps them."""

    output = sys.stdout  # libraries' chatter is kept from the name, not from the stream

    def show(text: str) -> None:
        shown.append(text)
        output.write(visible(text))
        output.flush()

    return show
