"""Asks the model that is trained, as infer.py does, and leaves the training as it was."""

from contextlib import contextmanager

from threetoe.backend.generate import generate, set_to_answer, set_to_learn
from threetoe.backend.reply import Reply, frame_of
from threetoe.options.infer import InferConfig
from threetoe.prompt.encode import prompt_ids, stop_ids
from threetoe.train.durable.moment import generators, put_generators
from threetoe.train.prepare import Prompting

AT_ONCE = 8  # questions


def ask(model, prompting: Prompting, asked, tokens: int, adapter: bool = True) -> list[Reply]:
    """The answers of the model with or without its adapter, of so many tokens at most."""
    template, marks, tokenizer = prompting.template, prompting.marks, prompting.tokenizer
    prompts = [prompt_ids(template.prompt(messages, marks), tokenizer) for messages in asked]
    frame = frame_of(template, marks, stop_ids(template.end(marks), tokenizer))
    replies = [Reply(tokenizer, frame) for _ in prompts]
    config = InferConfig(adapter=adapter, max_new_tokens=tokens, batch_size=AT_ONCE)
    list(generate(set_to_answer(model), tokenizer, prompts, replies, config))
    return replies


@contextmanager
def undisturbed(model, tokenizer):
    """What is asked within changes no bit of the training: mode, padding, random numbers."""
    before, learning, side = generators(), model.training, tokenizer.padding_side
    try:
        yield
    finally:
        set_to_learn(model).train(learning)
        tokenizer.padding_side = side
        put_generators(before)


def question_in(messages: list[dict]) -> str:
    return " ".join(filter(None, (messages[-1]["content"], messages[-1].get("input"))))


def text_of(reply: Reply) -> str:
    return reply.text + "…" * bool(reply.cut)
