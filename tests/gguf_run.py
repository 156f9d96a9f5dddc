"""Runs for the tests of GGUF files: on the tiny model, whose answers mean something, and random."""

import json

import numpy as np
from conftest import run_in_one_process
from llamacpp_server import Loaded

from threetoe.machine import files as catalog
from threetoe.prompt.template_file import read_template
from threetoe.prompt.tokenizer import with_cuts
from threetoe.run import contract
from threetoe.run import record as runs

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
        "--gradient-accumulation-steps", "1", "--warmup-steps", "0", "--lr-scheduler-type",
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

    def log_probabilities(self, ids, rows: int, taken: int):
        """Of every token after the prompt, an array by id. Token `taken` is made the answer, since
        llama.cpp tells nothing of a stop or half a character; the probabilities are the model's.
        """
        asked = self.ask(
            "/completion", prompt=ids, n_predict=1, n_probs=rows, cache_prompt=False,
            logit_bias=[[taken, 100]],
        )  # fmt: skip
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


SMALL = {
    "hidden_size": 128, "intermediate_size": 192, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 4096,
}  # fmt: skip


def random_run(
    root, kind: str, tokenizer, template: str | None = "chatml", trained=("q_proj", "v_proj"),
    **settings,
):  # fmt: skip
    """A random model (Llama, Qwen2, ...) with a random adapter, as other tools leave them: its
    folder, its record, and the model with its adapter."""
    import torch
    import transformers
    from peft import LoraConfig, get_peft_model

    settings = {**SMALL, "vocab_size": len(tokenizer), **settings}
    config = getattr(transformers, f"{kind}Config")(**settings)
    torch.manual_seed(0)
    model = getattr(transformers, f"{kind}ForCausalLM")(config)
    for weight in model.parameters():
        torch.nn.init.normal_(weight, mean=float(weight.dim() == 1), std=0.1)
    model.save_pretrained(root / "base")
    tokenizer.save_pretrained(root / "base")
    adapter = LoraConfig(r=4, lora_alpha=4, target_modules=list(trained), init_lora_weights=False)
    model = get_peft_model(model, adapter)
    model.save_pretrained(root / "run")
    tokenizer.save_pretrained(root / "run")
    foreign = runs.foreign(None, str(root / "base"), load_in_4bit=False)
    files = catalog.named_files("templates")
    template = template and read_template(files[template])  # else the tokenizer's own
    with_cuts(tokenizer)
    return root / "run", contract.settled(root / "run", foreign, template, tokenizer, None), model
