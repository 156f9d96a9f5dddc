"""Who is asked: a server with an OpenAI-compatible API, or a run of ours on this machine."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from threetoe.commands.make_dataset.server import Endpoint, check_endpoint, varied
from threetoe.errors import UserError
from threetoe.infer import infer
from threetoe.infer.questions import Question
from threetoe.options.infer import InferConfig

THOUGHT = re.compile(r"\s*<think>.*?(</think>|\Z)", re.DOTALL)  # some servers leave it in


class OwnRun:
    """A run folder, loaded once and asked many times through infer.py's own code."""

    def __init__(self, job: infer.InferPlan, questions: list[list[dict]]):
        self.job, self.tokenizer = infer.load_tokenizer(job)
        job, prompts = self.with_questions(questions, 0)
        longest = max(map(len, prompts)) + job.config.max_new_tokens
        self.model = infer.load_model(job, longest)
        room = self.model.config.max_position_embeddings
        if longest > room:
            raise UserError(
                f"The longest question has {longest - job.config.max_new_tokens} tokens; with "
                f"--max-tokens {job.config.max_new_tokens} that is more than the {room} that the "
                "run's base reads. Ask for less, or in an interview for shorter passages: "
                "--max-chars."
            )

    def with_questions(self, questions: list[list[dict]], attempt: int):
        config = replace(self.job.config, **varied(self.job.config, questions[0], attempt))
        asked = [Question(q, None, str(place)) for place, q in enumerate(questions)]
        job = self.job._replace(config=config, questions=asked)
        return infer.encode_questions(job, self.tokenizer)

    def answers(self, questions: list[list[dict]], attempt: int, schema=None) -> list[str]:
        """The answers in the order of the questions; a schema is no use here."""
        job, prompts = self.with_questions(questions, attempt)
        found = infer.answer(job, self.model, self.tokenizer, prompts)
        by_place = {question.where: answer for question, answer in found}
        return [by_place[str(place)] for place in range(len(questions))]


class Asker:
    """Asks one or the other; answers come without what a model thought aloud before them."""

    def __init__(self, server: Endpoint | OwnRun):
        self.server = server

    def ask(self, questions: list[list[dict]], attempt: int = 0, schema=None) -> list[str]:
        """An answer to each list of messages, in their order. Another attempt has another seed.

        Raises Failure, in one line, where the server gives none.
        """
        answers = self.server.answers(questions, attempt, schema)
        return [THOUGHT.sub("", text, count=1).strip() for text in answers]


def check_asked(config, at_once: int = 1) -> infer.InferPlan | None:
    """UserError unless exactly one of --base-url and --run is given, and can be asked as far as
    that is known before it is; the plan of a run."""
    given = [flag for flag in ("base_url", "run") if getattr(config, flag)]
    if len(given) != 1:
        has = "both are" if given else "neither is"
        raise UserError(
            "Who is asked? Either --base-url URL --model NAME, a server's address, or --run RUN, "
            f"a run's folder; {has} given."
        )
    if config.run is None:
        return check_endpoint(config)
    if config.model:
        raise UserError("--model goes with --base-url; a run has its own base.")
    return infer.plan_inference(
        InferConfig(
            prompt="?", run=config.run, temperature=config.temperature, seed=config.seed,
            max_new_tokens=config.max_tokens, batch_size=at_once,
        )
    )  # fmt: skip


def of_whom(config) -> str:
    """Who is asked, in words; '' where nobody is."""
    if config.run:
        return f" of the run {config.run}"
    return f" of {config.model} at {config.base_url}" if config.base_url else ""


@contextmanager
def asking(config, plan: infer.InferPlan | None, questions: list[list[dict]]) -> Iterator[Asker]:
    """An Asker, ready; `questions` are those that are known already, for their length."""
    if plan:
        yield Asker(OwnRun(plan, questions))
        return
    with Endpoint(config) as server:
        yield Asker(server)
