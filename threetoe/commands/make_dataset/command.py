"""python -m threetoe make-dataset: rows to train on, from a book or about a topic."""

from dataclasses import dataclass
from pathlib import Path

import click

from threetoe.commands.plugins import refuse_plugins
from threetoe.options.command import command
from threetoe.options.types import FILE, PATH, POSITIVE, SEED, FiniteRange, WholeRange, option

WHO, HOW, ROWS = "Who is asked (one of the two)", "How", "Rows"


@dataclass(frozen=True)
class MakeConfig:
    """What both commands share."""

    output: Path = option(
        None, "The file that grows, .jsonl; a file of the same command is gone on with.",
        FILE, ROWS, short="-o",
    )  # fmt: skip
    dry_run: bool = option(
        False, "Say how much there is to ask, print the first prompt, ask nothing.", group=ROWS
    )
    base_url: str = option(
        None, "An OpenAI-compatible server, such as http://127.0.0.1:8080/v1; the key comes from "
        "OPENAI_API_KEY, a local server needs none.", group=WHO,
    )  # fmt: skip
    model: str = option(None, "The server's name of the model; goes with --base-url.", group=WHO)
    run: Path = option(
        None, "A run's folder, asked on this machine as infer.py asks it.", PATH, WHO
    )
    system: str = option(
        None, "System text instead of ours; --dry-run shows it.", group=HOW, show_default="ours"
    )
    temperature: float = option(
        0.7, "0: the likeliest words; asking again is at 0.7 at least.", FiniteRange(0, 2), HOW
    )
    max_tokens: int = option(
        1024, "Longest answer in tokens, a model's thinking included.", POSITIVE, HOW
    )
    seed: int = option(3407, "Seed of sampling; asking again takes the next.", SEED, HOW)
    retries: int = option(
        2, "How often to ask again where an answer is no use.", WholeRange(0, 100), HOW
    )
    timeout: float = option(
        300, "Seconds that a server has for an answer.", FiniteRange(0, min_open=True), HOW
    )
    problems: tuple = ()
    record: tuple | None = None  # of a run.json; make-dataset has no use for it


@dataclass(frozen=True)
class InterviewConfig(MakeConfig):
    book: str = option(None, "", argument=True)
    about: str = option(
        None, 'Who is interviewed, for better questions: "the author is a chef".', group="Book"
    )
    min_chars: int = option(300, "Passages shorter than this are merged.", POSITIVE, "Book")
    max_chars: int = option(
        2000, "Passages longer than this are split between sentences.", POSITIVE, "Book"
    )
    encoding: str = option("utf-8", "Encoding of a text; PDFs know theirs.", group="Book")
    concurrency: int = option(
        1, "Questions asked at once; what was asked at once is written at once.", POSITIVE, HOW
    )


@dataclass(frozen=True)
class TopicConfig(MakeConfig):
    topic: str = option(None, "", argument=True)
    n: int = option(25, "Pairs that the file shall hold in the end.", POSITIVE, ROWS, flag="-n")


@click.group("make-dataset")
@click.pass_context
def make_dataset(context):
    """Make rows from a book, or about a topic, by a model."""
    refuse_plugins(context.obj, "make-dataset", "a run that is asked brings its own")


@command(InterviewConfig)
def interview(config):
    """Ask a model for the question that each passage of BOOK, a text or PDF, is the answer to.

    A row: {"question": ..., "answer": the passage, "source": "book.txt: passage 12"}. The passage
    before is the context. A rerun of the same command asks only for what lacks.

    \b
      python -m threetoe make-dataset interview book.txt -o rows.jsonl \\
        --base-url http://127.0.0.1:8080/v1 --model llama3 --about "the author is a chef"
      python -m threetoe make-dataset interview book.pdf --dry-run
    """
    from threetoe.commands.make_dataset.interview import make_interview

    make_interview(config)


@command(TopicConfig)
def topic(config):
    """Ask a model for pairs of a concept and its description about TOPIC, none of them twice.

    A row: {"concept": ..., "description": ...}. A rerun with a larger -n asks for more.

    \b
      python -m threetoe make-dataset topic "how bread is made" -n 25 -o rows.jsonl \\
        --base-url http://127.0.0.1:11434/v1 --model llama3.2
    """
    from threetoe.commands.make_dataset.topic import make_topic

    make_topic(config)


interview.short_help = "A question for each passage of a book, by a model."
topic.short_help = "Pairs of a concept and its description, by a model."
make_dataset.add_command(interview, "interview")
make_dataset.add_command(topic, "topic")
