"""A GGUF file is asked through llama.cpp, in text: what stands for its model and tokenizer here."""

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace

from threetoe.backend.reply import Frame, certain, framed
from threetoe.errors import Failure, UserError, first_line
from threetoe.options.infer import InferConfig
from threetoe.prompt.pieces import CUT, Marks
from threetoe.prompt.template import Template, hash_of
from threetoe.prompt.tokenizer_template import with_input

WINDOW = 8192  # tokens of a question and its answer, where the model reads as many
CONTROL = 3  # the type of a token that frames turns


def check(file: Path, config: InferConfig) -> None:
    """UserError for a file that is damaged, and for what llama.cpp is not asked for here."""
    given = {
        "--no-adapter": not config.adapter, "--model": config.model,
        "--constrain-to": config.constrain_to, "--web": config.web,
        "--compare-base": config.compare_base,
        "--template from-tokenizer": config.template == "from-tokenizer",
        "--load-in-4bit": config.load_in_4bit is not None,
    }  # fmt: skip
    if named := [flag for flag, is_given in given.items() if is_given]:
        raise UserError(f"{named[0]}: of no use with {file}; a GGUF file is asked as it is.")
    for package in ("xllamacpp", "gguf"):
        if importlib.util.find_spec(package) is None:
            raise UserError(f'--run {file} is asked through llama.cpp: pip install -e ".[serve]".')
    fields = fields_of(file)
    length = f"{fields.get('general.architecture')}.context_length"
    for name in ("tokenizer.ggml.tokens", "tokenizer.ggml.token_type", length):
        if name not in fields:
            raise UserError(f"--run {file} is not a whole model, as an adapter is none: no {name}.")
    if not (config.template or "tokenizer.chat_template" in fields):
        raise UserError(f"--run {file} has no chat template: name one, as --template alpaca.")


@cache
def fields_of(file: Path) -> dict:
    from gguf import GGUFReader

    try:
        return {name: field.contents() for name, field in GGUFReader(file).fields.items()}
    except Exception as error:  # whatever the library makes of a broken file
        raise UserError(f"--run {file} cannot be read: {first_line(error).rstrip('.')}.") from None


def reads(file: Path) -> int:
    """The tokens that the model of a file reads."""
    fields = fields_of(file)
    return fields[f"{fields['general.architecture']}.context_length"]


def marks_of(file: Path) -> Marks:
    fields = fields_of(file)
    tokens, kinds = (fields[f"tokenizer.ggml.{name}"] for name in ("tokens", "token_type"))
    bos, eos = (fields.get(f"tokenizer.ggml.{name}_token_id") for name in ("bos", "eos"))
    special = [token for token, kind in zip(tokens, kinds, strict=True) if kind == CONTROL]
    begins = fields.get("tokenizer.ggml.add_bos_token") and bos is not None
    end = "" if eos is None else tokens[eos]
    return Marks(tokens[bos] if begins else "", end, tuple(sorted(special)))


LOADED: dict[tuple, "Gguf"] = {}


def opened(file: Path, template: Template | None) -> "Gguf":
    """The loaded file; model and tokenizer are asked for apart, and are one."""
    key = file, template and hash_of(vars(template))
    if key not in LOADED:
        LOADED[key] = Gguf(file, template)
    return LOADED[key]


class Gguf:
    """A loaded file. Its template is its own, or a named one."""

    def __init__(self, file: Path, template: Template | None):
        import torch
        import xllamacpp

        self.template, self.marks = template, marks_of(file)
        params = xllamacpp.CommonParams()
        length = min(WINDOW, reads(file))
        params.model.path, params.n_ctx, params.n_parallel = str(file), length, 1
        params.port, params.warmup, params.verbosity = 0, False, -1
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = torch.get_num_threads()
        self.config = SimpleNamespace(max_position_embeddings=length)
        try:
            self.server = xllamacpp.Server(params)
        except RuntimeError as error:
            raise UserError(f"llama.cpp cannot load {file}: too large, or not known.") from error

    def ids(self, messages: list[dict]) -> list[int]:
        if self.template:
            pieces = self.template.prompt(messages, self.marks)
            text = "".join(piece.text for piece in pieces).replace(CUT, "")
        else:
            folded = [with_input(message) for message in messages]
            text = self.ask("/apply-template", messages=folded)["prompt"]
        adds = not self.template  # a named one begins with BOS itself
        return self.ask("/tokenize", content=text, add_special=adds, parse_special=True)["tokens"]

    def ask(self, path: str, **body) -> dict:
        import httpx

        found = httpx.post(self.server.listening_address + path, json=body, trust_env=False).json()
        if "error" in found:
            raise Failure(f"llama.cpp does not take the question: {found['error']['message']}")
        return found

    def answer(self, ids: list[int], stops: list[str], config: InferConfig, take: Callable) -> bool:
        """Hand on an answer's parts as they come; whether it was cut."""
        ended, raised = [], []

        def on(part: dict) -> bool:
            try:
                if "error" in part:
                    raise Failure(f"llama.cpp: {part['error']}")
                choice = part["choices"][0]
                ended.append(choice["finish_reason"])
                take(choice["text"])
            except BaseException as error:  # llama.cpp's threads know none; it is raised below
                raised.append(error)
            return bool(raised)

        asked = {"prompt": ids, "stream": True, "stop": stops, "max_tokens": config.max_new_tokens}
        self.server.handle_completions(asked | sampling(config), on)
        if raised:
            raise raised[0]
        return "length" in ended


def sampling(config: InferConfig) -> dict:
    return {
        "temperature": config.temperature, "top_p": config.top_p or 1.0, "seed": config.seed,
        "top_k": config.top_k or 0, "min_p": config.min_p or 0.0, "repeat_last_n": WINDOW,
        "repeat_penalty": config.repetition_penalty,
    }  # fmt: skip


def speak(config: InferConfig, model: Gguf, prompts: list, show=None) -> Iterator[tuple]:
    """As infer.speak."""
    named = model.template
    frame = Frame(lead=named.lead, trail=named.trail) if named else Frame()
    stops = [*(named.stops(model.marks) if named else ()), *config.stop]
    for index, ids in enumerate(prompts):
        own = replace(config, seed=(config.seed + index) % 2**32)  # --n answers are others
        said = shown = ""

        def take(part: str) -> None:
            nonlocal said, shown
            said += part
            hand_on(certain(said, frame))

        def hand_on(text: str) -> None:
            nonlocal shown
            new, shown = text[len(shown) :], text
            if new and show:
                show(new)

        cut = model.answer(ids, stops, own, take)
        hand_on(framed(said, frame))
        yield index, shown, cut and config.max_new_tokens, None
