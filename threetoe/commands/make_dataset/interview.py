"""An interview question for each passage of a book, asked of a model with the passage before.

A question that is no use is asked for again, and then its passage is left out and counted:
passages = rows + left out + not asked.
"""

import re
from pathlib import Path
from reprlib import repr as shortened
from typing import NamedTuple

import click

from threetoe.commands.make_dataset.book import Book, read_book
from threetoe.commands.make_dataset.passages import passages_of
from threetoe.commands.make_dataset.row_file import Account, appending, find_rows, folded
from threetoe.commands.make_dataset.server import asking, check_asked, of_whom
from threetoe.errors import Checks, Failure, UserError
from threetoe.machine.terminal import say, show_progress

COLUMNS = ("question", "answer", "source")
SYSTEM = (
    "You lead an interview with the author of a book. You are shown what the author says next, and "
    "find the one question that it is the reply to. Ask the author in person. Be brief, ask rather "
    "for reasons, feelings and views than for facts, leave the reply's content to the reply, and "
    "speak its language. Write the question alone, on one line."
)
LONGEST = 300  # characters of a question
RUN = 8  # words in a row that are a repetition
LABEL = re.compile(r"\W*(?:interviewer|question|q|frage|问题|问|問題|问句)\W*[:：]\W*", re.I)
AROUND = "\"'“”‘’«»「」『』*_` "
WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W_]+")


class Interview(NamedTuple):
    name: str  # of the book
    passages: list[str]
    todo: dict[int, list[dict]]  # {passage without a row: what the model is told}
    account: Account
    asked: set[str]  # questions, folded


def make_interview(config) -> None:
    """Write a row for each passage of the book; UserError before anything is asked."""
    checks = Checks(config.problems)
    plan = checks(check_asked, config, config.concurrency)
    if config.min_chars > config.max_chars:
        checks.problems.append(f"--min-chars {config.min_chars} is over --max-chars.")
    book = checks(read_the_book, config)
    found = checks(find_rows, config, COLUMNS)
    checks.done()
    job = interview_of(config, book, found.rows)
    announce(config, book, job)
    if config.dry_run:
        first = next(iter(job.todo.values()), [])
        shown = "\n\n".join(f"{m['role']}:\n{m['content']}" for m in first)
        return click.echo(shown or "Nothing is left to ask.")
    if job.todo:
        ask, places = asking(config, plan, list(job.todo.values())), list(job.todo)
        with appending(found, job.account) as write:
            for start in range(0, len(places), config.concurrency):
                ask_at_once(places[start : start + config.concurrency], ask, job, config, write)
    say("\n".join(job.account.lines()))
    if not job.account.rows:
        raise Failure("No passage got a question: another model may do better, or --temperature.")


def read_the_book(config) -> Book:
    if config.book is None:
        raise UserError("Name a book, a text or PDF: make-dataset interview book.txt -o rows.jsonl")
    return read_book(Path(config.book).expanduser(), config.encoding)


def interview_of(config, book: Book, rows: list[dict]) -> Interview:
    """What is left to do; UserError where the rows are not of this book's passages."""
    passages = passages_of(book.text, config.min_chars, config.max_chars)
    done, name = {row["answer"] for row in rows}, Path(config.book).name
    others = len(done - set(passages))
    if others:
        raise UserError(
            f"--output {config.output}: {others} of its rows are no passages of {config.book} with "
            f"--min-chars {config.min_chars} and --max-chars {config.max_chars}; give the options "
            "they were made with, or name another file."
        )
    account = Account(len(passages), f"passages in {name}", len(done), config.output)
    account.settles = True
    todo, seen = {}, set()
    for place, passage in enumerate(passages):
        if passage in seen:
            account.leave_out("the same text as an earlier passage", f"passage {place + 1}")
        elif passage not in done:
            todo[place] = prompt_for(passages, place, config)
        seen.add(passage)
    return Interview(name, passages, todo, account, {folded(row["question"]) for row in rows})


def prompt_for(passages: list[str], place: int, config) -> list[dict]:
    """What the model is told about a passage."""
    system = config.system or SYSTEM
    if config.about:
        system += f"\nWho is interviewed: {config.about}"
    before = f"What the author has just said:\n\n{passages[place - 1]}\n\n" if place else ""
    text = f"{before}What the author says next:\n\n{passages[place]}\n\nThe question between:"
    return [{"role": "system", "content": system}, {"role": "user", "content": text}]


def announce(config, book: Book, job: Interview) -> None:
    sizes = sorted(map(len, job.passages))
    say(
        f"{job.name}: {len(sizes)} passages of {sizes[0]} to {sizes[-1]} characters, half of them "
        f"under {sizes[len(sizes) // 2]}"
    )
    if book.numbers or book.heads:
        say(f"dropped: {book.numbers} page numbers, {book.heads} running heads and feet")
    calls, most = len(job.todo), len(job.todo) * (config.retries + 1)
    there = f"{job.account.rows} are in {config.output} already, " if job.account.rows else ""
    asked = f"{calls} to ask for, in {calls} to {most} calls{of_whom(config)}"
    say(there + (asked if calls else "nothing to ask for"))


def ask_at_once(places: list[int], ask, job: Interview, config, write) -> None:
    """Ask for the questions of some passages at once; write their rows in the book's order."""
    questions, faults, left = {}, {}, places
    for attempt in range(config.retries + 1):
        answers = ask([job.todo[place] for place in left], attempt)
        for place, answer in zip(left, answers, strict=True):
            question = stripped(answer)
            fault = fault_of_question(question, job.passages[place], job.asked)
            if fault:
                faults[place] = fault, question
            else:
                questions[place] = question
                job.asked.add(folded(question))
        left = [place for place in left if place not in questions]
        if not left:
            break
    for place in places:
        passage = f"passage {place + 1}"
        if place in questions:
            answer, source = job.passages[place], f"{job.name}: {passage}"
            write({"question": questions[place], "answer": answer, "source": source})
        else:
            fault, question = faults[place]
            job.account.leave_out(fault, f"{passage}: {shortened(question)}")
    settled, rows = len(job.passages) - job.account.missing, job.account.rows
    show_progress(f"passage {settled} of {len(job.passages)}, rows: {rows}")


def stripped(answer: str) -> str:
    """An answer without what models like to put around a question."""
    lines = [line.strip() for line in answer.splitlines() if line.strip()]
    if len(lines) == 2 and lines[0].endswith((":", "：")):
        lines = lines[1:]  # "Here is a question:"
    return LABEL.sub("", "\n".join(lines), count=1).strip(AROUND)


def fault_of_question(question: str, passage: str, asked: set[str]) -> str | None:
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
