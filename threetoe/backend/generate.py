"""Rows become batches, and a loaded model answers them or is scored on them."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from threetoe.backend.reply import Listener, Reply
from threetoe.errors import Failure, UserError
from threetoe.machine.libraries import chatter_hidden
from threetoe.machine.terminal import say


def set_to_answer(model):
    """The model as Unsloth has it answer, after a training or a load."""
    from unsloth import FastLanguageModel

    return FastLanguageModel.for_inference(model)


def set_to_learn(model):
    """The model as Unsloth has it in training, checkpointing as it was chosen."""
    from unsloth import FastLanguageModel

    FastLanguageModel.for_training(model)
    return model


def generate(model, tokenizer, prompts: list[list[int]], replies: list[Reply], config):
    """Answers to prompts, as `in_batches` puts them together.

    `replies`, one a prompt, are given the ids as they come. Yields the index of a prompt when its
    batch is done. Without `config.adapter` the base answers.
    """
    import torch
    from transformers import StoppingCriteriaList

    tokenizer.padding_side = "left"
    torch.manual_seed(config.seed)

    def answer(indices: list[int]) -> list[Reply]:
        own = [replies[index] for index in indices]
        batch = tokenizer.pad({"input_ids": [prompts[i] for i in indices]}, return_tensors="pt")
        longest = min(config.max_new_tokens, room_behind(batch["input_ids"].shape[1], model))
        for reply in own:
            reply.begin()  # anew, where memory ran out
        model.generate(
            **batch.to(model.device),
            max_new_tokens=longest,
            eos_token_id=sorted(replies[0].ends),
            pad_token_id=tokenizer.pad_token_id,
            stopping_criteria=StoppingCriteriaList([Listener(own)]),
            use_cache=True,
            **sampling(config),
        )
        for reply in own:
            reply.close(longest)
        return own

    for index, _ in in_batches(model, prompts, config, config.batch_size, answer):
        yield index


def room_behind(asked: int, model) -> int:
    """Tokens that an answer may have; UserError where there are none."""
    reads = model.config.max_position_embeddings
    if asked >= reads:
        raise UserError(f"A question has {asked} tokens; the model reads {reads} with the answer.")
    return reads - asked


def in_batches(model, prompts: list[list[int]], config, size: int, ask: Callable) -> Iterator:
    """Yields (index of a prompt, what `ask` makes of it). `ask` is given the indices of at most
    `size` prompts of similar length, of the same with `config.equal_lengths`, shortest first;
    of half as many from where the memory runs out."""
    left = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    while left:
        indices = left[:size]
        if config.equal_lengths:
            indices = [i for i in indices if len(prompts[i]) == len(prompts[indices[0]])]
        try:
            with being_asked(model, config, len(indices)):
                found = ask(indices)
        except OutOfMemory:
            if len(indices) == 1:
                raise
            size = len(indices) // 2
            say(f"out of memory with {len(indices)} rows at once; it goes on with {size}")
            continue
        left = left[len(indices) :]
        yield from zip(indices, found, strict=True)


def sampling(config) -> dict:
    """How transformers chooses the next token; all is said, as its defaults come from a folder."""
    how = {"repetition_penalty": config.repetition_penalty}
    if not config.temperature:
        return how | {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    how |= {"do_sample": True, "temperature": config.temperature, "min_p": config.min_p}
    return how | {"top_p": config.top_p or 1.0, "top_k": config.top_k or 0}


def adapter_name(run) -> str:
    """What PEFT calls the adapter of a run that was loaded behind another's."""
    return f"run_{hashlib.sha256(str(run).encode()).hexdigest()[:8]}"


@contextmanager
def being_asked(model, config, questions: int):
    """The model reads so many questions: nothing is learned, and without `config.adapter` the base
    answers."""
    import torch

    if len(names := getattr(model, "peft_config", ())) > 1:
        name = adapter_name(config.run)
        model.set_adapter(name if name in names else "default")
    bare = nullcontext() if config.adapter else model.disable_adapter()
    with torch.inference_mode(), chatter_hidden(), bare, memory_named(questions):
        yield


class OutOfMemory(Failure):
    """Memory that has run out; fewer questions at once take less."""


@contextmanager
def memory_named(questions: int):
    """Memory that runs out is an OutOfMemory that names what takes less."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise OutOfMemory(
            f"Out of memory with {questions} question{'s' * (questions > 1)} at once: a lower "
            "--batch-size or --max-new-tokens takes less; answers that were given stay."
        ) from error
