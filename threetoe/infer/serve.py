"""Engines that others wrote, each of which answers as OpenAI's API does: which of them is here, and
how it is started and ended."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Event

from threetoe.errors import Failure, UserError
from threetoe.machine.terminal import say, show_progress
from threetoe.options.infer import InferConfig

QUESTIONS, TOKENS = 4, 4096  # at once, and of each with its answer, where the base reads as many
SECONDS = 10  # that a program has to end


def is_installed(*packages: str) -> bool:
    return all(importlib.util.find_spec(package) for package in packages)


def llama_cpp(
    file: Path, prompts: list, stops: list[str], reads: int, config: InferConfig, jinja: str = ""
) -> None:
    """llama.cpp's server in this process, until Ctrl-C. `prompts` are pairs of messages and the ids
    they were trained as; the model reads `reads` tokens; `jinja` is instead of the file's own."""
    import torch
    import xllamacpp

    params = xllamacpp.CommonParams()
    name = config.run.resolve().name
    params.model.path, params.model_alias = str(file), {name}
    params.hostnames, params.port = [config.host], config.port
    params.n_parallel, params.n_ctx = QUESTIONS, QUESTIONS * min(TOKENS, reads)
    threads = torch.get_num_threads()  # as many as OMP_NUM_THREADS says
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.chat_template = jinja
    params.antiprompt = stops  # of requests that bring none
    params.sampling.temp = 0.0
    params.ui = params.endpoint_slots = False
    params.verbosity = -1
    show_progress(f"loading {file}")
    try:
        server = xllamacpp.Server(params)
    except RuntimeError as error:
        raise UserError(f"llama.cpp cannot load {file}: it is damaged, or too large.") from error
    for messages, ids in prompts:
        text = ask(config, "/apply-template", messages=messages).get("prompt")
        found = ask(config, "/tokenize", content=text, add_special=True, parse_special=True)
        if found.get("tokens") != ids:
            raise UserError(
                f"--serve: llama.cpp reads {file}'s prompts otherwise than was trained."
            )
    say_address("llama.cpp", str(file), name, config)
    try:
        Event().wait()
    finally:
        del server


def vllm(name: str, config: InferConfig) -> list[str]:
    """The words after python -m of a program that serves the folder `name`."""
    return [
        "vllm.entrypoints.cli.main", "serve", name, "--served-model-name", name,
        "--host", config.host, "--port", str(config.port),
        "--override-generation-config", '{"temperature": 0}',
    ]  # fmt: skip


def transformers(name: str, config: InferConfig) -> list[str]:
    where = ["--host", config.host, "--port", str(config.port)]
    return ["transformers.cli.transformers", "serve", name, *where]


def run_program(words: Callable, place: Path, config: InferConfig) -> None:
    """A program that serves the folder `place` by its name, until Ctrl-C; then none of its
    processes is left."""
    name, engine = place.name, words.__name__
    command = [sys.executable, "-m", *words(name, config)]
    show_progress(f"{engine} loads {name}")
    process = subprocess.Popen(command, cwd=place.parent, start_new_session=True)
    try:
        if answers(process, address(config)):
            say_address(engine, str(place), name, config)
        process.wait()
    finally:
        end_group(process)
    raise Failure(f"{engine} has ended with the exit code {process.returncode}.")


def answers(process: subprocess.Popen, where: str) -> bool:
    """Waits for a program to answer; whether it does, or has ended."""
    import httpx

    while process.poll() is None:
        with suppress(httpx.HTTPError):
            if httpx.get(f"{where}/health", trust_env=False).is_success:
                return True
        time.sleep(0.3)
    return False


def ask(config: InferConfig, path: str, **body) -> dict:
    """What a server on this machine answers; a proxy is none of its business."""
    import httpx

    return httpx.post(address(config) + path, json=body, trust_env=False, timeout=60).json()


def end_group(process: subprocess.Popen) -> None:
    """End a program and whatever it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(SECONDS)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def address(config: InferConfig) -> str:
    host = f"[{config.host}]" if ":" in config.host else config.host
    return f"http://{host}:{config.port}"


def say_address(engine: str, what: str, name: str, config: InferConfig) -> None:
    say(f"{engine} serves {what} as '{name}' on {address(config)}/v1 (Ctrl-C ends it)")
