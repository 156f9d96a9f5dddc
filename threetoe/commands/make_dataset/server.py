"""Who is asked: a server with an OpenAI-compatible API, or a run of ours on this machine.

What cannot be had of a server is a Failure in one line, without the key.
"""

import asyncio
import importlib.util
import ipaddress
import os
import re
import socket
import zlib
from dataclasses import replace
from urllib.parse import urlsplit

from threetoe.errors import Checks, Failure, UserError, first_line
from threetoe.infer import infer
from threetoe.infer.questions import Question
from threetoe.machine.terminal import say
from threetoe.options.infer import InferConfig

KEY = "OPENAI_API_KEY"
WARM = 0.7  # temperature at which another answer is likely
AGAIN = 3  # times that the client library asks after 429, 5xx or a broken line
THOUGHT = re.compile(r"\s*<think>.*?(</think>|\Z)", re.DOTALL)  # some servers leave it in
LOOPBACK = ("localhost", "127.0.0.1", "::1")


def check_asked(config, at_once: int = 1) -> infer.InferPlan | None:
    """UserError unless exactly one of --base-url and --run is given, in a dry run at most one, and
    can be asked as far as that is known before it is; the plan of a run."""
    given = [flag for flag in ("base_url", "run") if getattr(config, flag)]
    if config.dry_run and not given:
        return None
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


def check_endpoint(config) -> None:
    """UserError unless address, model and key can be right, and a local server listens."""
    checks, address = Checks(), config.base_url
    url = checks(checked_address, address)
    if not config.model:
        checks.problems.append(f"--model NAME: say which model of {address} is asked.")
    if importlib.util.find_spec("openai") is None:
        checks.problems.append('--base-url needs the openai package: pip install -e ".[data]".')
    checks.done()
    if url.hostname in LOOPBACK:
        try:
            port = url.port or (443 if url.scheme == "https" else 80)
            socket.create_connection((url.hostname, port), timeout=5).close()
        except OSError as error:
            raise UserError(
                f"--base-url {address}: nothing listens there ({error.strerror or error}); start "
                "the server, or mend the port."
            ) from error


def checked_address(address: str):
    """The parts of an address; UserError where it is none, or the key is not where it belongs."""
    try:
        url = urlsplit(address)
        url.port  # noqa: B018  its range is checked here
    except ValueError as error:
        raise UserError(f"--base-url {address}: {first_line(error)}.") from error
    if url.scheme not in ("http", "https") or not url.hostname:
        raise UserError(f"--base-url {address} is no address such as http://127.0.0.1:8080/v1.")
    if url.username or url.password:
        raise UserError(f"--base-url: put the key in {KEY}, not before the @ of the address.")
    if not is_local(url.hostname) and not key():
        raise UserError(f"--base-url {address} asks for a key: put it in the environment as {KEY}.")
    if not key().isascii() or not key().isprintable():
        raise UserError(f"{KEY} holds characters that no key has.")
    return url


def key() -> str:
    return os.environ.get(KEY, "").strip()


def is_local(host: str) -> bool:
    """Whether a host is of this machine or the network around it."""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return "." not in host or host.endswith((".local", ".internal", ".localhost"))


def of_whom(config) -> str:
    """Who is asked, in words; '' where nobody is."""
    if config.run:
        return f" of the run {config.run}"
    return f" of {config.model} at {config.base_url}" if config.base_url else ""


def asking(config, plan: infer.InferPlan | None, questions: list[list[dict]]):
    """A function of (questions, attempt, schema) that gives an answer to each list of messages, in
    their order and without what a model thought aloud; `questions` are those known already."""
    server = OwnRun(plan, questions) if plan else Endpoint(config)

    def ask(questions: list[list[dict]], attempt: int = 0, schema=None) -> list[str]:
        answers = server.answers(questions, attempt, schema)
        return [THOUGHT.sub("", text, count=1).strip() for text in answers]

    return ask


def varied(config, question: list[dict], attempt: int) -> dict:
    """Seed and temperature of an attempt at a question. Each question has its own seed, or all
    answers would draw the same lots; a later attempt has another, and some warmth."""
    own = zlib.crc32(question[-1]["content"].encode("utf-8", "replace"))
    return {
        "seed": (config.seed + own + attempt) % 2**31,  # what most servers take
        "temperature": max(config.temperature, WARM) if attempt else config.temperature,
    }


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
                f"The longest question and --max-tokens {job.config.max_new_tokens} take {longest} "
                f"tokens, and the run's base reads {room}: ask for less, or in an interview for "
                "shorter passages, --max-chars."
            )

    def with_questions(self, questions: list[list[dict]], attempt: int):
        config = replace(self.job.config, **varied(self.job.config, questions[0], attempt))
        asked = [Question(q, None, number=place) for place, q in enumerate(questions)]
        job = self.job._replace(config=config, questions=asked)
        return infer.encode_questions(job, self.tokenizer)

    def answers(self, questions: list[list[dict]], attempt: int, schema=None) -> list[str]:
        """The answers in the order of the questions; a schema is no use here."""
        job, prompts = self.with_questions(questions, attempt)
        found = infer.answer(job, self.model, self.tokenizer, prompts)
        return [given.text for given in sorted(found, key=lambda given: given.question.number)]


class Endpoint:
    """A server; what it is asked is stopped by Ctrl-C at once."""

    def __init__(self, config):
        self.config, self.refused = config, set()

    def answers(self, questions: list[list[dict]], attempt: int, schema=None) -> list[str]:
        """The answers in the order of the questions, asked at once; Failure in one line."""
        import openai

        settings = {"max_tokens": self.config.max_tokens}
        if schema:
            settings["response_format"] = {"type": "json_schema", "json_schema": schema}
        asked = [(q, settings | varied(self.config, q, attempt)) for q in questions]
        try:
            return asyncio.run(self.all_answers(asked))
        except (openai.OpenAIError, ValueError) as error:  # ValueError: broken JSON
            raise Failure(self.what_failed(error)) from error

    async def all_answers(self, asked: list[tuple]) -> list[str]:
        import openai

        url = self.config.base_url.rstrip("/")
        proxies = not is_local(urlsplit(url).hostname)
        async with openai.AsyncOpenAI(
            base_url=url, api_key=key() or "none", max_retries=AGAIN, timeout=self.config.timeout,
            http_client=openai.DefaultAsyncHttpxClient(trust_env=proxies),
        ) as client:  # fmt: skip
            create = client.chat.completions.create
            return await asyncio.gather(*(self.answer(create, *one) for one in asked))

    async def answer(self, create, messages: list[dict], settings: dict) -> str:
        """One answer; '' where all tokens went into thinking. A setting that the server refuses is
        left out from then on, which is said once."""
        import openai

        while True:
            sent = {name: value for name, value in settings.items() if name not in self.refused}
            if "max_tokens" in self.refused:
                sent["max_completion_tokens"] = settings["max_tokens"]
            try:
                done = await create(model=self.config.model, messages=messages, **sent)
                break
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                name = next((name for name in settings if name in str(error)), None)
                if name not in sent:
                    raise
                if name not in self.refused:  # by an answer that was asked for at the same time
                    say(f"the server refuses {name}: it is left out")
                self.refused.add(name)
        if not getattr(done, "choices", None):  # a web page, or JSON of another kind
            raise Failure(
                f"{self.config.base_url} gave an answer that is no chat completion; does "
                "--base-url end in /v1?"
            )
        text = done.choices[0].message.content or ""
        return text.encode("utf-8", "replace").decode()  # lone surrogates

    def what_failed(self, error: Exception) -> str:
        """What went wrong with the server, in one line."""
        import openai

        url, model = self.config.base_url, self.config.model
        if isinstance(error, openai.APITimeoutError):
            return f"{url} gave no answer in {self.config.timeout:g} seconds; see --timeout."
        if isinstance(error, openai.APIConnectionError):
            return f"{url} cannot be reached: {first_line(error.__cause__ or error)}."
        if not isinstance(error, openai.APIStatusError):
            return f"{url} gave an answer that is none: {without_key(first_line(error))}."
        wait = error.response.headers.get("retry-after")
        hint = {
            401: f"; is the key in {KEY} right?" if key() else f"; it asks for a key: {KEY}",
            404: f"; has it a model '{model}' (--model), and does --base-url end in /v1?",
            429: f"; it asks to wait {wait} seconds" if wait else "; wait, or ask for less at once",
        }.get(error.status_code, "")
        return f"{url} answered {error.status_code}: {without_key(server_words(error))}{hint}"


def server_words(error) -> str:
    """The server's own words of an error, at most a line of them."""
    body = error.body
    while isinstance(body, dict):
        body = next((body[name] for name in ("error", "message", "detail") if body.get(name)), None)
    words = " ".join(str(body or error.response.reason_phrase or "no reason given").split())
    return (words if len(words) <= 200 else words[:199] + "…").rstrip(".")


def without_key(words: str) -> str:
    return words.replace(key(), "***") if key() else words
