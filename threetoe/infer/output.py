"""Where answers go: to the terminal as they come, or into a file in the order of the questions.

While a file is being answered its rows lie in OUTPUT.partial, a line each as batches are done. The
same call goes on from there after a kill, and asks only what has no answer yet.
"""

import hashlib
import json
import os
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TextIO, TypedDict

from threetoe.errors import UserError
from threetoe.infer import metrics
from threetoe.infer.tables import WRITERS, fields_of, joined
from threetoe.machine.files import check_writable, lock
from threetoe.machine.records import parse_json
from threetoe.machine.terminal import Progress, clear_line, say, visible
from threetoe.options.infer import InferConfig, answering


def check_output(config: InferConfig, expects: bool) -> None:
    """UserError unless --output may be written; `expects` figures beside it."""
    path = config.output
    if path is None:
        return
    if path.suffix not in WRITERS:
        raise UserError(f"--output {path}: its name ends in none of {', '.join(WRITERS)}.")
    for taken in [path, *[metrics.place_beside(path)] * expects]:
        if taken.exists():
            raise UserError(f"--output {path}: {taken} exists already; name another file.")
    if not path.parent.is_dir():
        raise UserError(f"--output {path}: there is no folder {path.parent}.")
    check_writable(path, "--output")


def show(job, give) -> None:
    """Print the answers: one as it comes, or whole where plugins have a word in it."""
    whole = job.hooks.has("map_reply") or len(job.questions) > 1
    output = sys.stdout  # libraries' chatter is kept from the name, not from the stream

    def put(text: str) -> None:
        output.write(visible(text) if output.isatty() else text)
        output.flush()

    try:
        for given in give(None if whole else put):
            if job.config.n > 1:
                say(f"answer {given.question.number + 1} of {job.config.n}:")
            put(given.text + "\n" if whole else "\n")
            say_about(given, job.config.max_new_tokens)
    except KeyboardInterrupt:
        put("\n")
        raise


def say_about(given, most: int) -> None:
    """What there is to say of an answer besides itself."""
    if given.shares:
        ranked = sorted(given.shares.items(), key=lambda item: -item[1])
        say(", ".join(f"{name} {share:.1%}" for name, share in ranked))
    if given.cut == most:
        say(f"the answer was cut at --max-new-tokens {given.cut}")
    elif given.cut:
        say(f"the answer was cut after {given.cut} tokens: the model reads no more")


def partial_of(path: Path) -> Path:
    return path.with_name(path.name + ".partial")


def read_begun(job) -> dict[int, dict]:
    """The rows that an earlier call has answered, by the question's number; UserError where they
    are of other questions, or were answered in another way."""
    path = job.config.output and partial_of(job.config.output)
    if not (path and (path.exists() or path.is_symlink())):
        return {}
    ours = path.is_file() and not path.is_symlink()
    text = path.read_text(encoding="utf-8", errors="replace") if ours else ""
    head, *lines = text.split("\n")[:-1] or [""]  # a torn line goes
    if head != identity_of(job) and (text or not ours):
        raise UserError(
            f"{path} is of other questions, or of another run or options: name another --output, "
            "or remove it."
        )
    hold(job.config.output).close()
    rows = [answered_row(line, f"{path}:{at}") for at, line in enumerate(lines, 2)]
    say(f"{len(rows)} of {len(job.questions)} were answered before")
    return {row.pop("number"): row for row in rows}


class AnsweredRow(TypedDict):
    """What a line of OUTPUT.partial has in any case."""

    number: int
    answer: str
    cut: bool


def answered_row(line: str, place: str) -> dict:
    try:
        return parse_json(line, AnsweredRow, place)
    except UserError as error:
        raise UserError(f"{error} Remove that line, and its question is asked again.") from error


def identity_of(job) -> str:
    """One for all calls that give the same answers."""
    asked = [(question.messages, question.row) for question in job.questions]
    parts = [asked, answering(job.config), job.run.options, job.run.metrics]
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()


def write(answers, job, begun: dict[int, dict]) -> list[dict]:
    """Write a row an answer; the rows in the order of the questions, as a file has them. Standard
    output gets them as batches are done."""
    path, rows = job.config.output, gather(answers, job, begun)
    if path:
        names = fields_of(job.questions)
        finish(path, joined(job.questions, rows, names, path.suffix == ".csv"))
        partial_of(path).unlink(missing_ok=True)
    return rows


def gather(answers, job, begun: dict[int, dict]) -> list[dict]:
    """The rows of answers in the order of the questions, each kept in OUTPUT.partial or printed as
    it comes."""
    path, rows, total = job.config.output, dict(begun), len(job.questions)
    file, held = begin(path, job) if path else (None, ExitStack())  # None: standard output
    names = fields_of(job.questions)
    escaped = not path and sys.stdout.encoding.lower() != "utf-8"
    shown, progress = not path and sys.stdout.isatty(), Progress(len(begun))
    try:
        for given in answers:
            row = rows[given.question.number] = as_row(given)
            line = {"number": given.question.number, **row}
            if not path:
                (line,) = joined([given.question], [row], names)
            clear_line()
            text = json.dumps(line, ensure_ascii=escaped)
            print(visible(text) if shown else text, file=file, flush=True)
            pace = (len(rows) - len(begun)) / max(time.monotonic() - progress.began, 1e-3)
            words = f"answered {len(rows)} of {total}, {pace:.1f} rows/s"
            progress.show(len(rows), total, words)
    except KeyboardInterrupt:
        say(f"{len(rows)} of {total} answered" + "; the same call goes on" * bool(path))
        raise
    finally:
        held.close()
        clear_line()
    ordered = [rows[number] for number in sorted(rows)]
    say_of_all(ordered, job.config.max_new_tokens)
    return ordered


def begin(path: Path, job) -> tuple[TextIO, ExitStack]:
    """The file of rows while they are answered, and what holds it; of what an earlier call has
    left, whole lines are never written anew."""
    path.parent.mkdir(exist_ok=True)  # evaluations/ of a run
    partial = partial_of(path)
    file = partial.open("a", encoding="utf-8")
    held = hold(path)
    held.callback(file.close)
    os.truncate(partial, partial.read_bytes().rfind(b"\n") + 1)  # a torn line goes
    if not partial.stat().st_size:
        print(identity_of(job), file=file, flush=True)
    return file, held


def hold(path: Path) -> ExitStack:
    """OUTPUT.partial for this call alone; UserError where another one writes it."""
    return lock(partial_of(path), f"--output {path}", "call")


def finish(path: Path, rows: list[dict]) -> None:
    """The file, whole or not at all: on a full disk, what was answered stays."""
    with TemporaryDirectory(dir=path.parent, prefix=f"{path.name}.") as folder:
        whole = Path(folder, path.name)
        WRITERS[path.suffix](whole, rows)
        whole.rename(path)


def say_of_all(rows: list[dict], most: int) -> None:
    cuts, faults = sum(row["cut"] for row in rows), sum("error" in row for row in rows)
    if cuts:
        say(f"{cuts} of {len(rows)} answers were cut (--max-new-tokens {most})")
    if faults:
        say(f"{faults} of {len(rows)} rows could not be asked; each says why in its field error")


def as_row(given) -> dict:
    question = given.question
    row = {"where": question.where, "messages": question.messages, "answer": given.text}
    row |= {"base": given.base} if given.base is not None else {}
    row["cut"] = bool(given.cut)
    row |= {"probabilities": given.shares} if given.shares else {}
    row |= {"error": given.error} if given.error else {}
    return row if question.expected is None else row | {"expected": question.expected}
