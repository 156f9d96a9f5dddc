"""Rebuild models/tiny: generated text, a byte-level BPE tokenizer, a Llama pre-trained from zero.

Usage: python tools/make_tiny.py [--output DIR]
"""

import argparse
import json
import math
import random
import time
from pathlib import Path

import torch
from make_sentiment import FOLDER as SENTIMENT
from make_sentiment import INSTRUCTION, LABELS
from prose import documents
from tiny_tokenizer import CONTEXT, VOCABULARY, make_tokenizer
from transformers import (
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    get_cosine_schedule_with_warmup,
)

FOLDER = SENTIMENT.parent.parent / "models" / "tiny"
SEED = 3
DOCUMENTS, HELD_OUT_DOCUMENTS = 54_000, 1_000
LENGTH, BATCH, STEPS, WARMUP, RATE = 256, 8, 1400, 60, 3e-3
MEGABYTES = 8  # the repository carries the weights, so they must stay small

CARD = """\
---
license: apache-2.0
language: [en, zh]
library_name: transformers
pipeline_tag: text-generation
---

# tiny: the embedded base model

A Llama of {parameters:.1f} million parameters (4 layers, hidden size 256, vocabulary 2048,
context {context}, bfloat16, {size:.1f} MB) that Threetoe's tests, examples and first steps
fine-tune in about a minute on a CPU. It is a base model: it continues text and follows no
instructions.

## How it was made

`python tools/make_tiny.py` makes everything in this folder, with a fixed seed, in about
{minutes:.0f} minutes on {threads} CPU threads (torch {torch}). Nothing was downloaded.

- Text: {documents} generated documents, half English and half Chinese, {tokens:.1f} million
  tokens, written by `tools/prose.py` from our own word lists: reviews that keep one mood, mostly
  with a reply that fits it, talks, little stories, plain statements, questions with short
  answers. No text of `datasets/sentiment/test.jsonl` occurs in it and nothing is classified; the
  labels' words occur in other senses (signs of numbers, poles, gears, dictionary questions).
- Tokenizer: byte-level BPE trained on that text, laid out as Llama 3's (the same splitting
  rule, names of special tokens and BOS), so it writes any Unicode text.
- Weights: trained from zero on rows of {length} tokens, {steps} steps of {batch} rows, AdamW.

## What was measured

| on | result |
|---|---|
| {held_out} held-out documents | {loss:.3f} nats a token (perplexity {perplexity:.2f}) |
| the same, a byte | {bits:.3f} bits |
| `datasets/sentiment/test.jsonl` | {picked:.1%} have the likeliest label (chance: 33.3%) |

The label is the likeliest of the language's three after "instruction, blank line, input, blank
line". A share far from chance, above or below, only says which label the model happens to favour
for each mood: it reads the mood, and nothing told it the labels.

The held-out documents come from the same generator, so the loss says little about other text.

## What it is not for

Any real use. It knows a few hundred words, some sentence patterns and no facts; on other text
it is close to noise. Use it to try the tools and to test them, and fine-tune a real model for
anything else.
"""


def read_test():
    """Return the rows of the sentiment test; the model must never have read their texts."""
    lines = (SENTIMENT / "test.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def make_text(test):
    """Return the documents to train on and, none of them among these, those to measure on."""
    inputs = [row["input"] for row in test]
    drawn = documents(DOCUMENTS + HELD_OUT_DOCUMENTS, random.Random(SEED), inputs)
    text, seen = drawn[:DOCUMENTS], set(drawn[:DOCUMENTS])
    held_out = [document for document in drawn[DOCUMENTS:] if document not in seen]
    everything = "\n".join(text)
    assert not any(sentence in everything for sentence in inputs)
    return text, held_out


def make_model(tokenizer):
    """Return an untrained Llama."""
    torch.manual_seed(SEED)
    ids = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        max_position_embeddings=CONTEXT,
        rope_parameters={"rope_type": "default", "rope_theta": 500000.0},
        rms_norm_eps=1e-5,
        tie_word_embeddings=False,
        **ids,
    )
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(**ids)
    return model


def pack(text, tokenizer):
    """Return the documents, each BOS ... EOS, end to end as rows of LENGTH ids."""
    ids = []
    for encoded in tokenizer(text)["input_ids"]:
        ids += [*encoded, tokenizer.eos_token_id]
    rows = len(ids) // LENGTH
    return torch.tensor(ids[: rows * LENGTH]).view(rows, LENGTH)


def make_optimizer(model):
    """Return AdamW, which decays matrices but not norms, and its cosine schedule."""
    matrices = [weight for weight in model.parameters() if weight.dim() > 1]
    norms = [weight for weight in model.parameters() if weight.dim() == 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": norms, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.95))
    return optimizer, get_cosine_schedule_with_warmup(optimizer, WARMUP, STEPS)


def pretrain(model, rows):
    """Train the model on the rows in a seeded order, printing the loss now and then."""
    optimizer, schedule = make_optimizer(model)
    epochs = math.ceil(STEPS * BATCH / len(rows))
    order = torch.cat([torch.randperm(len(rows)) for _ in range(epochs)])
    start = time.time()
    for step in range(STEPS):
        batch = rows[order[step * BATCH : (step + 1) * BATCH]]
        loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % 50 == 0 or step == STEPS - 1:
            print(f"step {step:4d}  loss {loss:.3f}  {time.time() - start:.0f} s", flush=True)


@torch.no_grad()
def mean_loss(model, rows):
    """Return the mean loss a token, in nats."""
    losses = [model(input_ids=row[None], labels=row[None]).loss.item() for row in rows]
    return sum(losses) / len(losses)


@torch.no_grad()
def pick_labels(model, tokenizer, test):
    """Return the share of test rows whose own label is the likeliest of its language's three."""
    right = 0
    for row in test:
        language = next(name for name, text in INSTRUCTION.items() if text == row["instruction"])
        prompt = tokenizer(f"{row['instruction']}\n\n{row['input']}\n\n")["input_ids"]
        losses = {}
        for label in LABELS[language].values():
            answer = tokenizer(label, add_special_tokens=False)["input_ids"]
            ids, labels = prompt + answer, [-100] * len(prompt) + answer
            loss = model(input_ids=torch.tensor([ids]), labels=torch.tensor([labels])).loss
            losses[label] = loss.item() * len(answer)
        right += min(losses, key=losses.get) == row["output"]
    return right / len(test)


def name_class(path):
    """Name the tokenizer's class as transformers 4 and 5 both know it; 5 writes its new name."""
    settings = json.loads(path.read_text(encoding="utf-8"))
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8", newline="\n")


def save(model, tokenizer, folder):
    """Write bfloat16 weights, configurations and tokenizer; return the weights' megabytes."""
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    name_class(folder / "tokenizer_config.json")
    size = (folder / "model.safetensors").stat().st_size / 1e6
    assert size <= MEGABYTES, f"{size:.1f} MB"
    return size


def measure(model, tokenizer, test, held_out):
    """Return what the card says was measured, on the weights as saved."""
    model.eval()
    rows = pack(held_out, tokenizer)
    loss = mean_loss(model, rows)
    text_bytes = len(tokenizer.decode(rows.flatten(), skip_special_tokens=True).encode())
    return {
        "held_out": len(held_out),
        "loss": loss,
        "perplexity": math.exp(loss),
        "bits": loss / math.log(2) * rows.numel() / text_bytes,
        "picked": pick_labels(model, tokenizer, test),
    }


def main():
    """Make everything, the model card last, and print each step."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=FOLDER)
    folder = parser.parse_args().output
    start, test = time.time(), read_test()
    text, held_out = make_text(test)
    print(f"{len(text)} documents, {len(held_out)} held out")
    tokenizer = make_tokenizer(text)
    rows = pack(text, tokenizer)
    print(f"{rows.numel()} tokens in rows of {LENGTH}")
    model = make_model(tokenizer)
    pretrain(model, rows)
    size = save(model, tokenizer, folder)
    measured = measure(model, tokenizer, test, held_out)
    card = CARD.format(
        **measured,
        size=size,
        parameters=model.num_parameters() / 1e6,
        context=CONTEXT,
        minutes=(time.time() - start) / 60,
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        documents=f"{len(text):,}",
        tokens=rows.numel() / 1e6,
        length=LENGTH,
        steps=STEPS,
        batch=BATCH,
    )
    (folder / "README.md").write_text(card, encoding="utf-8", newline="\n")
    print(f"{folder}: {size:.1f} MB, {measured}")


if __name__ == "__main__":
    main()
