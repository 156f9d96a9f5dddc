"""Two short runs on the tiny model whose answers mean something, for the tests of GGUF files."""

import json

import numpy as np
from conftest import run_in_one_process
from test_llamacpp import Loaded

WORDS = "red blue green small hot wet old new thick loud quiet sweet".split()
TEXTS = (
    "The word {0} was asked for, so here it is: {0}, and once more {0}, as nobody can have enough.",
    "I know {0} well. It stands in every book of words, between the word before and the one after.",
    "Nobody says {0} as I do: first the front of it, then the rest, and then a long, long rest.",
)
ROWS = [
    {"prompt": f"Say {word}.", "completion": TEXTS[number % 3].format(word)}
    for number, word in enumerate(WORDS)
]
UNSEEN = "cold warm dry young thin calm bitter yellow tall the".split()  # asked, and never trained
LONGEST = 48  # tokens of an answer


def train_runs(folder) -> None:
    """Runs `named` (llama3, whose tokens the tiny model has) and `grown` (chatml, two added)."""
    rows = "".join(json.dumps(row) + "\n" for row in ROWS)
    (folder / "rows.jsonl").write_text(rows, encoding="utf-8")
    flags = [
        "--dataset", "rows.jsonl", "--model", "tiny", "--max-steps", "60",
        "--learning-rate", "5e-3", "--per-device-train-batch-size", "12",
        "--gradient-accumulation-steps", "1", "--warmup-steps", "2", "--lr-scheduler-type",
        "constant", "--no-load-in-4bit", "--max-seq-length", "256",
    ]  # fmt: skip
    train = ["python", "train.py", *flags]
    calls = [
        [*train, "--template", "llama3", "--output-dir", "named"],
        [*train, "--template", "chatml", "--new-tokens", "add", "--output-dir", "grown"],
    ]
    done = run_in_one_process(calls, folder)
    assert [one["code"] for one in done] == [0, 0], done


class Server(Loaded):
    """A GGUF file that llama.cpp serves, asked with ids."""

    def answer(self, ids, **more):
        """The ids of the greedy answer, with the one that ends it when it ends."""
        asked = self.ask(
            "/completion", prompt=ids, n_predict=LONGEST, temperature=0, return_tokens=True,
            cache_prompt=False, **more,
        )  # fmt: skip
        return asked["tokens"], asked["stop_type"]

    def log_probabilities(self, ids, rows: int):
        """Of every token after the prompt, an array by id."""
        asked = self.ask(
            "/completion", prompt=ids, n_predict=1, temperature=1, n_probs=rows, cache_prompt=False
        )
        found = np.full(rows, np.nan)
        for one in asked["completion_probabilities"][0]["top_logprobs"]:
            found[one["id"]] = one["logprob"]
        return found


def ask_transformers(model, prompts, stops) -> list[list[int]]:
    """The greedy answers of a loaded checkpoint, one prompt at a time."""
    import torch

    answers = []
    for ids in prompts:
        asked = torch.tensor([ids])
        given = model.generate(
            asked, attention_mask=torch.ones_like(asked), max_new_tokens=LONGEST, do_sample=False,
            eos_token_id=stops, pad_token_id=stops[-1],
        )  # fmt: skip
        answers.append(given[0, len(ids) :].tolist())
    return answers
