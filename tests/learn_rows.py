"""Run by test_trainer.py: trains rows of random ids, with or without Unsloth, and prints what came
of it as JSON. One process for each, because what imports Unsloth cannot be without it again.
"""

import hashlib
import json
import sys
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

import numpy as np

from threetoe.backend import model as backend
from threetoe.backend.training_arguments import choose_training_arguments
from threetoe.builtin import register_callbacks
from threetoe.machine.libraries import load_unsloth
from threetoe.options.train import TrainConfig
from threetoe.prompt.encode import IGNORED, Encoded
from threetoe.train.batches import packed, packs_of
from threetoe.train.trainer import build_trainer

TINY = Path(__file__).parent.parent / "models" / "tiny"
ROOM = 128


def made_rows(count: int, seed: int, longest: int = ROOM) -> list[Encoded]:
    """Rows of log-normal lengths of which a random end is learned, some from the first token on."""
    random, rows = np.random.default_rng(seed), []
    middle = np.log(30 * longest / ROOM)
    for length in random.lognormal(middle, 0.7, count).clip(4, longest).astype(int):
        ids = random.integers(5, 400, length).tolist()
        prompt = int(random.integers(0, length - 2)) * int(random.integers(0, 3) > 0)
        rows.append(Encoded(ids, [IGNORED] * prompt + ids[prompt:], int(length)))
    return rows


def dataset_of(rows):
    """Encoded rows as the datasets.Dataset that build_trainer takes."""
    from datasets import Dataset, Features, List, Value

    ids = List(Value("int32"))
    features = Features({"input_ids": ids, "labels": ids, "length": Value("int32")})
    columns = {
        "input_ids": [row.input_ids for row in rows],
        "labels": [row.labels for row in rows],
        "length": [len(row.input_ids) for row in rows],
    }
    return Dataset.from_dict(columns, features)


class Learned:
    """A training, and what the model was given in every pass."""

    def __init__(self, name: str, model, tokenizer, rows, arguments: dict, validation=None, **more):
        folder = Path(name)
        folder.mkdir()
        arguments = {**arguments, "output_dir": str(folder)}
        self.widths, self.starts = [], []
        model.register_forward_pre_hook(self.note, with_kwargs=True)
        said = StringIO()
        with redirect_stderr(said):
            self.trainer = build_trainer(
                model, tokenizer, dataset_of(rows), arguments, register_callbacks(TrainConfig()),
                dataset_of(validation) if validation else None, **more,
            )  # fmt: skip
            self.trainer.train()
        self.said = said.getvalue()
        lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        self.log = [json.loads(line) for line in lines]

    def note(self, model, args, given):
        if model.training:
            self.widths.append(given["input_ids"].shape[1])
            self.starts.append(given["input_ids"][:, :4].tolist())

    def result(self) -> dict:
        model, digest = self.trainer.model, hashlib.sha256()
        for _, parameter in model.named_parameters():
            if parameter.requires_grad:
                digest.update(parameter.detach().float().numpy(force=True).tobytes())
        return {
            "losses": [entry["loss"] for entry in self.log if "loss" in entry],
            "measured": [(e["step"], e["eval_loss"]) for e in self.log if "eval_loss" in e],
            "adapter": digest.hexdigest(), "widths": self.widths, "starts": self.starts,
            "said": self.said, "keys": sorted(self.trainer.data_collator(
                [self.trainer.train_dataset[0]]
            )),
        }  # fmt: skip


def loss_of(trainer, row: dict) -> float:
    """The loss of one row or pack, in the trainer's own way."""
    import torch

    batch = trainer._prepare_inputs(trainer.data_collator([row]))
    count = (batch["labels"][:, 1:] != IGNORED).sum()
    with torch.no_grad(), trainer.compute_loss_context_manager():
        return trainer.compute_loss(trainer.model, batch, num_items_in_batch=count).item()


def losses_of_examples(trainer, pack: dict) -> list[tuple[float, float, float]]:
    """Of every example of a pack but the first: its loss within the pack, alone, and in a pack
    that is taken for one example."""
    losses, end = [], 0
    for length in pack["seq_lengths"]:
        start, end = end, end + length
        ids, labels = pack["input_ids"][start:end], pack["labels"][start:end]
        if start == 0:
            continue
        others = [IGNORED] * start + labels + [IGNORED] * (len(pack["labels"]) - end)
        alone = {"input_ids": ids, "labels": labels, "seq_lengths": [length]}
        inside = {**pack, "labels": [*others[:start], IGNORED, *others[start + 1 :]]}
        crossed = {**inside, "seq_lengths": [len(pack["labels"])]}
        losses.append(tuple(loss_of(trainer, row) for row in (inside, alone, crossed)))
    return losses


def compared(name: str, load, tokenizer, arguments: dict, validation=None) -> dict:
    """Three steps over all rows, padded and packed, and the losses of examples in packs."""
    rows, found = made_rows(24, 1), {}
    packs = packed(dataset_of(rows), ROOM)
    for packing, size in ((False, len(rows)), (True, len(packs))):
        learned = Learned(f"{name}-{packing}", load(), tokenizer, rows, {
            **arguments, "packing": packing, "padding_free": packing,
            "per_device_train_batch_size": size, "gradient_accumulation_steps": 1, "max_steps": 3,
            "train_sampling_strategy": "random",
        }, validation)  # fmt: skip
        found["packing" if packing else "padding"] = learned.result()
    learned.trainer.model.eval()  # no dropout
    found["examples"] = [
        losses for pack in packs for losses in losses_of_examples(learned.trainer, pack)
    ]
    return found


def plain(attention: str) -> dict:
    """On transformers, TRL and PEFT as they are."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, Trainer
    from trl import SFTTrainer

    SFTTrainer.compute_loss = Trainer.compute_loss  # its own needs Triton, which needs a GPU

    def load():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_pretrained(
            TINY, dtype=torch.float32, attn_implementation=attention
        )
        return get_peft_model(model, LoraConfig(target_modules=["q_proj", "v_proj"]))

    arguments = {
        "learning_rate": 1e-2, "use_cpu": True, "bf16": False, "max_length": ROOM,
        "dataset_kwargs": {"skip_prepare_dataset": True}, "remove_unused_columns": False,
        "logging_steps": 1, "save_strategy": "no", "report_to": "none", "disable_tqdm": True,
        "gradient_checkpointing": False,
    }  # fmt: skip
    return compared(attention, load, backend.load_tokenizer("tiny"), arguments)


def packs() -> dict:
    """What packing makes of 2,500 rows, and what it counts."""
    rows = made_rows(2500, 2)
    made = packed(dataset_of(rows), ROOM)
    examples = []
    for pack in made:
        end = 0
        for length in pack["seq_lengths"]:
            start, end = end, end + length
            examples.append((pack["input_ids"][start:end], pack["labels"][start:end]))
    given = [(row.input_ids, row.labels) for row in rows]
    return {
        "same": sorted(examples) == sorted(given), "packs": len(made),
        "counted": packs_of([row.full_length for row in rows], ROOM),
        "longest": max(map(len, made["input_ids"])), "share": sum(map(len, made["input_ids"]))
        / len(made) / ROOM,
    }  # fmt: skip


def on_unsloth(**options) -> tuple:
    """A function that loads the model, the tokenizer and the arguments, as train.py does."""
    config = TrainConfig(
        model="tiny", load_in_4bit=True, max_seq_length=ROOM, learning_rate=5e-3, warmup_steps=0,
        **options,
    )  # fmt: skip
    return (
        lambda: backend.load_model(config, None),
        backend.load_tokenizer("tiny"),
        choose_training_arguments(config, Path()),
    )


def exact_loss(model, rows) -> float:
    """The mean over all learned tokens, a row at a time, from logits."""
    import torch

    total, learned = 0.0, 0
    model.eval()
    for row in rows:
        with torch.no_grad():
            ids = torch.tensor([row.input_ids], device=model.device)
            logits = model(input_ids=ids).logits[0, :-1].float().cpu()
        labels = torch.tensor(row.labels[1:])
        total += torch.nn.functional.cross_entropy(logits, labels, reduction="sum").item()
        learned += (labels != IGNORED).sum().item()
    return total / learned


def unsloth() -> dict:
    load_unsloth()
    rows, validation, found = made_rows(38, 3), made_rows(21, 4), {}
    load, tokenizer, arguments = on_unsloth(max_steps=4, lora_dropout=0.1)
    found["exact"] = exact_loss(load(), validation)
    cases = {
        "alone": (arguments, None), "measured": ({**arguments, "eval_steps": 2}, validation),
        "in small batches": (
            {**arguments, "eval_steps": 2, "per_device_eval_batch_size": 1}, validation
        ),
        "other seed": ({**arguments, "seed": 5, "data_seed": 5}, None),
        "packing": ({**arguments, "packing": True, "padding_free": True}, None),
    }  # fmt: skip
    for name, (given, measured) in cases.items():
        found[name] = Learned(name, load(), tokenizer, rows, given, measured).result()
    sampled = Learned("sampled", load(), tokenizer, rows, arguments, validation, eval_rows=5)
    found["sampled"] = {**sampled.result(), "log": sampled.log}
    return found


def gpu() -> dict:
    load_unsloth()
    load, tokenizer, arguments = on_unsloth(max_steps=3)
    validation = made_rows(21, 4)
    exact = exact_loss(load(), validation)
    return {"exact": exact, **compared("gpu", load, tokenizer, arguments, validation)}


if __name__ == "__main__":
    found = {
        "plain": lambda: {"sdpa": plain("sdpa"), "eager": plain("eager"), "packs": packs()},
        "unsloth": unsloth,
        "gpu": gpu,
    }
    print(json.dumps(found[sys.argv[1]]()))
