"""Rows become batches, and a loaded model answers them or is scored on them."""

from contextlib import contextmanager, nullcontext

from threetoe.backend.reply import Listener, Reply
from threetoe.errors import Failure, UserError
from threetoe.machine.libraries import chatter_hidden


def set_to_answer(model):
    """The model as Unsloth has it answer, after a training or a load."""
    from unsloth import FastLanguageModel

    return FastLanguageModel.for_inference(model)


def generate(model, tokenizer, prompts: list[list[int]], replies: list[Reply], config):
    """Answers to prompts, in batches of similar length, shortest first.

    `replies`, one a prompt, are given the ids as they come. Yields the index of a prompt when its
    batch is done. Without `config.adapter` the base answers.
    """
    import torch
    from transformers import StoppingCriteriaList

    tokenizer.padding_side = "left"
    torch.manual_seed(config.seed)
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    for start in range(0, len(order), config.batch_size):
        indices = order[start : start + config.batch_size]
        batch = tokenizer.pad({"input_ids": [prompts[i] for i in indices]}, return_tensors="pt")
        width = batch["input_ids"].shape[1]
        room = model.config.max_position_embeddings - width
        if room < 1:
            raise UserError(
                f"A question has {width} tokens; the model reads {width + room} with the answer."
            )
        listener = Listener([replies[index] for index in indices])
        longest = min(config.max_new_tokens, room)
        with being_asked(model, config, len(indices)):
            model.generate(
                **batch.to(model.device),
                max_new_tokens=longest,
                eos_token_id=sorted(replies[0].ends),
                pad_token_id=tokenizer.pad_token_id,
                stopping_criteria=StoppingCriteriaList([listener]),
                use_cache=True,
                **sampling(config),
            )
        for index in indices:
            replies[index].close(longest)
            yield index


def sampling(config) -> dict:
    """How transformers chooses the next token; all is said, as its defaults come from a folder."""
    how = {"repetition_penalty": config.repetition_penalty}
    if not config.temperature:
        return how | {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    how |= {"do_sample": True, "temperature": config.temperature, "min_p": config.min_p}
    return how | {"top_p": config.top_p or 1.0, "top_k": config.top_k or 0}


@contextmanager
def being_asked(model, config, questions: int):
    """The model reads so many questions: nothing is learned, and without `config.adapter` the base
    answers."""
    import torch

    bare = nullcontext() if config.adapter else model.disable_adapter()
    with torch.inference_mode(), chatter_hidden(), bare, memory_named(questions):
        yield


@contextmanager
def memory_named(questions: int):
    """Memory that runs out is a Failure that names what takes less."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise Failure(
            f"Out of memory with {questions} question{'s' * (questions > 1)} at once: a lower "
            "--batch-size or --max-new-tokens takes less; answers that were given stay."
        ) from error
