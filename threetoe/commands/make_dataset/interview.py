"""An interview question for each passage of a book, asked of a model with the passage before.

A question that is no use is asked for again, and then its passage is left out and counted:
passages = rows + left out + not asked.
"""

import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import click

from threetoe.commands.make_dataset.asking import asking, check_asked, of_whom
from threetoe.commands.make_dataset.book import Book, read_book
from threetoe.commands.make_dataset.passages import passages_of
from threetoe.commands.make_dataset.row_file import appending, find_rows, folded, going_on
from threetoe.errors import Checks, Failure, UserError
from threetoe.machine.terminal import show_progress

COLUMNS = ("question", "answer", "source")
SYSTEM = (
    "You lead an interview with the author of a book. You are shown what the author says next, and "
    "find the one question that it is the reply to. Ask the author in person. Be brief, ask rather "
    "for reasons, feelings and views than for facts, leave the reply's content to the reply, and "
    "speak its language. Write the question alone, on one line."
)
LONGEST = 300  # characters of a question
RUN = 8  # words in a row that are a repetition
LABEL = re.compile(r"(?:\W*)(?:interviewer|question|q|frage|问题|问|問題|问句)\W*[:：]\W*", re.I)
AROUND = "\"'“”‘’«»「」『』*_` "
WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W_]+")


class Account:
    """What became of the passages."""

    def __init__(self, name: str, passages: int, rows: int):
        self.name, self.passages, self.rows = name, passages, rows
        self.reasons: Counter[str] = Counter()
        self.first: dict[str, str] = {}

    def leave_out(self, place: int, reason: str, answer: str = "") -> None:
        self.reasons[reason] += 1
        shown = f": {shortened(answer)}" if answer else ""
        self.first.setdefault(reason, f"passage {place + 1}{shown}")

    def lines(self, output: Path) -> list[str]:
        left = self.passages - self.rows - self.reasons.total()
        return [
            f"{self.passages} passages in {self.name}, {self.rows} rows in {output}",
            *(f"{n} left out: {r} (first: {self.first[r]})" for r, n in self.reasons.most_common()),
            *([f"{left} not asked yet"] if left else []),
        ]


class Job(NamedTuple):
    passages: list[str]
    todo: list[int]  # passages without a row
    questions: list[list[dict]]  # for each of those, what the model is told
    account: Account
    asked: set[str]  # questions, folded


def make_interview(config) -> None:
    """Write a row for each passage of the book; UserError before anything is asked."""
    checks = Checks(config.problems)
    looks = config.dry_run
    plan = None
    if not looks or config.base_url or config.run:
        plan = checks(check_asked, config, config.concurrency)
    if config.min_chars > config.max_chars:
        checks.problems.append(f"--min-chars {config.min_chars} is over --max-chars.")
    book = checks(read_the_book, config)
    found = checks(find_rows, config.output, COLUMNS) if config.output or not looks else None
    checks.done()
    job = job_of(config, book, found.rows if found else [])
    announce(config, book, job)
    if looks:
        return click.echo(shown(job.questions[0]) if job.todo else "Nothing is left to ask.")
    if job.todo:
        carry_out(config, plan, job, found.end)
    for line in job.account.lines(config.output):
        click.echo(line, err=True)
    if not job.account.rows:
        raise Failure("No passage got a question: another model may do better, or --temperature.")


def read_the_book(config) -> Book:
    if config.book is None:
        raise UserError("Name a book, a text or PDF: make-dataset interview book.txt -o rows.jsonl")
    return read_book(Path(config.book).expanduser(), config.encoding)


def job_of(config, book: Book, rows: list[dict]) -> Job:
    """What is left to do; UserError where the rows are not of this book's passages."""
    passages = passages_of(book.text, config.min_chars, config.max_chars)
    done = {row["answer"] for row in rows}
    others = len(done - set(passages))
    if others:
        raise UserError(
            f"--output {config.output}: {others} of its rows are no passages of {config.book} with "
            f"--min-chars {config.min_chars} and --max-chars {config.max_chars}; give the options "
            "they were made with, or name another file."
        )
    account = Account(Path(config.book).name, len(passages), len(done))
    todo, seen = [], set()
    for place, passage in enumerate(passages):
        if passage in seen:
            account.leave_out(place, "the same text as an earlier passage")
        elif passage not in done:
            todo.append(place)
        seen.add(passage)
    questions = [messages_of(passages, place, config) for place in todo]
    return Job(passages, todo, questions, account, {folded(row["question"]) for row in rows})


def messages_of(passages: list[str], place: int, config) -> list[dict]:
    """What the model is told about a passage."""
    system = config.system or SYSTEM
    if config.about:
        system += f"\nWho is interviewed: {config.about}"
    before = f"What the author has just said:\n\n{passages[place - 1]}\n\n" if place else ""
    text = f"{before}What the author says next:\n\n{passages[place]}\n\nThe question between:"
    return [{"role": "system", "content": system}, {"role": "user", "content": text}]


def announce(config, book: Book, job: Job) -> None:
    sizes = sorted(map(len, job.passages))
    click.echo(
        f"{job.account.name}: {len(sizes)} passages of {sizes[0]} to {sizes[-1]} characters, half "
        f"of them under {sizes[len(sizes) // 2]}",
        err=True,
    )
    if book.numbers or book.heads:
        dropped = f"{book.numbers} page numbers, {book.heads} running heads and feet"
        click.echo(f"dropped: {dropped}", err=True)
    calls, most = len(job.todo), len(job.todo) * (config.retries + 1)
    there = f"{job.account.rows} are in {config.output} already, " if job.account.rows else ""
    asked = f"{calls} to ask for, in {calls} to {most} calls{of_whom(config)}"
    click.echo(there + (asked if calls else "nothing to ask for"), err=True)


def carry_out(config, plan, job: Job, end: int) -> None:
    """Ask for all questions that lack."""
    with (
        going_on(lambda: job.account.lines(config.output)),
        asking(config, plan, job.questions) as asker,
        appending(config.output, end) as write,
    ):
        asked = list(zip(job.todo, job.questions, strict=True))
        for start in range(0, len(asked), config.concurrency):
            window = dict(asked[start : start + config.concurrency])
            ask_window(window, asker, job, config, write)


def ask_window(window: dict, asker, job: Job, config, write) -> None:
    """Ask for the questions of some passages at once; write their rows in the book's order."""
    rows, problems, left = {}, {}, list(window)
    for attempt in range(config.retries + 1):
        answers = asker.ask([window[place] for place in left], attempt)
        for place, answer in zip(left, answers, strict=True):
            question = repaired(answer)
            problem = problem_of(question, job.passages[place], job.asked)
            if problem:
                problems[place] = (problem, question)
                continue
            rows[place] = question
            job.asked.add(folded(question))
        left = [place for place in left if place not in rows]
        if not left:
            break
    for place in window:
        if place in rows:
            source = f"{job.account.name}: passage {place + 1}"
            passage = job.passages[place]
            write({"question": rows[place], "answer": passage, "source": source})
            job.account.rows += 1
        else:
            job.account.leave_out(place, *problems[place])
    settled = job.account.rows + job.account.reasons.total()
    show_progress(f"passage {settled} of {job.account.passages}, rows: {job.account.rows}")


def shortened(text: str) -> str:
    words = " ".join(text.split())
    return repr(words if len(words) <= 60 else words[:59] + "…")


def shown(messages: list[dict]) -> str:
    return "\n\n".join(f"{m['role']}:\n{m['content']}" for m in messages)


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
