"""A server with an OpenAI-compatible API, asked through the openai client library.

What cannot be had of it is a Failure in one line, without the key.
"""

import asyncio
import ipaddress
import os
import socket
import zlib
from urllib.parse import urlsplit

import click

from threetoe.errors import Failure, UserError, first_line

WARM = 0.7  # temperature at which another answer is likely
AGAIN = 3  # times that the client library asks after 429, 5xx or a broken line
# Settings that a server may refuse, with the words by which its refusal names them.
SETTINGS = {
    "max_tokens": ("max_tokens",),
    "temperature": ("temperature",),
    "seed": ("seed",),
    "response_format": ("response_format", "schema", "grammar"),
}
KEY = "OPENAI_API_KEY"


def varied(config, question: list[dict], attempt: int) -> dict:
    """Seed and temperature of an attempt at a question. Each question has its own seed, or all
    answers would draw the same lots; a later attempt has another, and some warmth."""
    own = zlib.crc32(question[-1]["content"].encode("utf-8", "replace"))
    return {
        "seed": (config.seed + own + attempt) % 2**31,  # what most servers take
        "temperature": max(config.temperature, WARM) if attempt else config.temperature,
    }


class Endpoint:
    """A server that answers while it is entered; its loop is stopped by Ctrl-C at once."""

    def __init__(self, config):
        self.config = config
        self.renamed: dict[str, str] = {}  # settings that it refused; to "": left out

    def __enter__(self):
        import openai

        url = self.config.base_url.rstrip("/")
        local = is_local(urlsplit(url).hostname)
        self.runner = asyncio.Runner()
        self.client = openai.AsyncOpenAI(
            base_url=url,
            api_key=key() or "none",
            max_retries=AGAIN,
            timeout=self.config.timeout,
            http_client=openai.DefaultAsyncHttpxClient(trust_env=not local),  # no proxy
        )
        return self

    def __exit__(self, *error):
        self.runner.run(self.client.close())
        self.runner.close()

    def answers(self, questions: list[list[dict]], attempt: int, schema=None) -> list[str]:
        """The answers in the order of the questions, asked at once; Failure in one line."""
        import openai

        settings = {"max_tokens": self.config.max_tokens}
        if schema:
            settings["response_format"] = {"type": "json_schema", "json_schema": schema}
        asked = [(q, settings | varied(self.config, q, attempt)) for q in questions]
        try:
            return self.runner.run(self.all_answers(asked))
        except (openai.OpenAIError, ValueError) as error:  # ValueError: broken JSON
            raise Failure(self.said(error)) from error

    async def all_answers(self, asked: list[tuple]) -> list[str]:
        return await asyncio.gather(*(self.answer(*one) for one in asked))

    async def answer(self, messages: list[dict], settings: dict) -> str:
        """One answer; '' where the server gives none. A setting that it refuses is left out from
        then on, which is said once."""
        import openai

        while True:
            sent = {self.renamed.get(name, name): value for name, value in settings.items()}
            sent.pop("", None)
            try:
                done = await self.client.chat.completions.create(
                    model=self.config.model, messages=messages, **sent
                )
                return self.text_of(done)
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                refused = refused_setting(str(error), sent)
                if not refused:
                    raise
                self.leave_out(refused)

    def text_of(self, done) -> str:
        """What a server's answer says; Failure where it is a web page, or JSON of another kind."""
        from openai.types.chat import ChatCompletion

        choices = done.to_dict().get("choices") if isinstance(done, ChatCompletion) else None
        if not choices:
            raise Failure(
                f"{self.config.base_url} gave an answer that is no chat completion; does "
                "--base-url end in /v1?"
            )
        text = choices[0].get("message", {}).get("content")
        text = text if isinstance(text, str) else ""  # none: all tokens went into thinking
        return text.encode("utf-8", "replace").decode()  # lone surrogates

    def leave_out(self, name: str) -> None:
        if name in self.renamed:
            return  # said by an answer asked at the same time
        self.renamed[name] = "max_completion_tokens" if name == "max_tokens" else ""
        instead = "max_completion_tokens is sent instead" if self.renamed[name] else "left out"
        click.echo(f"the server refuses {name}: {instead}", err=True)

    def said(self, error: Exception) -> str:
        """What went wrong with the server, in one line."""
        import openai

        url, model = self.config.base_url, self.config.model
        if isinstance(error, openai.APITimeoutError):
            return f"{url} gave no answer in {self.config.timeout:g} seconds; see --timeout."
        if isinstance(error, openai.APIConnectionError):
            return f"{url} cannot be reached: {first_line(error.__cause__ or error)}."
        if not isinstance(error, openai.APIStatusError):
            return f"{url} gave an answer that is none: {without_key(first_line(error))}."
        status, words = error.status_code, without_key(server_words(error))
        wait = error.response.headers.get("retry-after")
        hint = {
            401: f"; is the key in {KEY} right?" if key() else f"; it asks for a key: {KEY}",
            403: f"; may the key in {KEY} do this?",
            404: f"; has it a model '{model}' (--model), and does --base-url end in /v1?",
            429: f"; it asks to wait {wait} seconds" if wait else "; wait, or ask for less at once",
        }.get(status, "")
        return f"{url} answered {status}: {words}{hint}"


def refused_setting(words: str, sent: dict) -> str | None:
    """The setting that a server's refusal is about; None where it is about something else."""
    found = (n for n, named in SETTINGS.items() if n in sent and any(w in words for w in named))
    return next(found, None)


def server_words(error) -> str:
    """The server's own words of an error, at most a line of them."""
    body = error.body
    if isinstance(body, dict):
        inner = body.get("error")
        body = body.get("message") or (inner.get("message") if isinstance(inner, dict) else inner)
        body = body or error.body.get("detail")
    words = " ".join(str(body or error.response.reason_phrase or "no reason given").split())
    return (words if len(words) <= 200 else words[:199] + "…").rstrip(".")


def without_key(words: str) -> str:
    return words.replace(key(), "***") if key() else words


def check_endpoint(config) -> None:
    """UserError unless address, model and key can be right, and a local server listens."""
    problems = []
    try:
        url = urlsplit(config.base_url)
        port = url.port or (443 if url.scheme == "https" else 80)
        problems += problems_of(config.base_url, url)
    except ValueError as error:
        raise UserError(f"--base-url {config.base_url}: {first_line(error)}.") from error
    if not config.model:
        problems.append(f"--model NAME: say which model of {config.base_url} is asked.")
    try:
        import openai  # noqa: F401
    except ImportError:
        problems.append('--base-url needs the openai package: pip install "threetoe[data]".')
    if problems:
        raise UserError(*problems)
    if is_loopback(url.hostname):
        try:
            socket.create_connection((url.hostname, port), timeout=5).close()
        except OSError as error:
            raise UserError(
                f"--base-url {config.base_url}: nothing listens there ({error.strerror or error}); "
                "start the server, or mend the port."
            ) from error


def problems_of(address: str, url) -> list[str]:
    if url.scheme not in ("http", "https") or not url.hostname:
        return [f"--base-url {address} is no address such as http://127.0.0.1:8080/v1."]
    if url.username or url.password:
        return [f"--base-url: put the key in {KEY}, not before the @ of the address."]
    if not is_local(url.hostname) and not key():
        return [f"--base-url {address} asks for a key: put it in the environment as {KEY}."]
    if not key().isascii() or not key().isprintable():
        return [f"{KEY} holds characters that no key has."]
    return []


def key() -> str:
    return os.environ.get(KEY, "").strip()


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def is_local(host: str) -> bool:
    """Whether a host is of this machine or the network around it."""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return is_loopback(host) or "." not in host or host.endswith((".local", ".internal"))
