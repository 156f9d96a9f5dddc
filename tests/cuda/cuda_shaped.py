"""Run by test_cuda_shaped.py: trains and measures the embedded model under Unsloth's CPU backend
("cpu"), or under what it takes on a GPU ("cuda"), and prints what came of it as JSON.

UNSLOTH_ALLOW_CPU makes `import unsloth` take a GPU's branches without one: the trainer that its
generator writes, its passes through Llama, its attention and its loss. Two of Triton's kernels are
put in PyTorch's words here, and the LoRA layers are PEFT's own.
"""

import json
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

SHAPE, SCRATCH = sys.argv[1], tempfile.mkdtemp()
os.environ.update(
    UNSLOTH_COMPILE_LOCATION=f"{SCRATCH}/compiled",
    HF_HUB_OFFLINE="1",
    TORCHDYNAMO_DISABLE="1",
    **({"UNSLOTH_ALLOW_CPU": "1"} if SHAPE == "cuda" else {}),
)
from threetoe.machine.libraries import load_unsloth  # noqa: E402

load_unsloth()
import torch  # noqa: E402
from learn_rows import (  # noqa: E402
    Learned,
    dataset_of,
    exact_loss,
    losses_of_examples,
    made_rows,
)
from peft import LoraConfig, get_peft_model  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402

from threetoe.backend import token_rows  # noqa: E402
from threetoe.backend.model import (  # noqa: E402
    load_model,
    load_tokenizer,
    locate,
)
from threetoe.backend.training_arguments import choose_training_arguments  # noqa: E402
from threetoe.commands.rank import sum_losses  # noqa: E402
from threetoe.options.train import TrainConfig  # noqa: E402
from threetoe.prompt.new_tokens import TokenRows  # noqa: E402
from threetoe.train.batches import packed  # noqa: E402
from threetoe.train.trainer import build_trainer  # noqa: E402

ROOM, TARGETS = 128, ["q_proj", "v_proj"]
AT_ONCE = {"per_device_train_batch_size": 24, "gradient_accumulation_steps": 1}
LENGTHS = (120, 100, 97)  # of which one is a multiple of 8
TOKENS = TokenRows(trained=(500, 510), fresh=(510,), held=2048, total=2048)


def patch_llama() -> None:
    """Put Unsloth's trainer into TRL, and its passes into transformers' Llama."""
    from transformers.models.llama import modeling_llama as llama
    from unsloth.models import llama as fast
    from unsloth.models import rl
    from unsloth.trainer import _patch_trl_trainer

    rl._patch_trl_rl_trainers_impl("sft_trainer")
    _patch_trl_trainer()
    fast.fast_rms_layernorm = lambda norm, x, **_: norm(x)
    fast.fast_rope_embedding = turn
    llama.LlamaAttention.forward = fast.LlamaAttention_fast_forward
    llama.LlamaDecoderLayer.forward = fast.LlamaDecoderLayer_fast_forward
    llama.LlamaModel.forward = fast.LlamaModel_fast_forward
    inference = fast.LlamaModel_fast_forward_inference
    llama.LlamaForCausalLM.forward = fast.CausalLM_fast_forward(inference)


def turn(queries, keys, cos, sin, positions=None):
    """Both, turned by RoPE; `positions` where they do not simply count."""
    length = queries.shape[2]
    positions = torch.arange(length) if positions is None else positions.long()
    cos, sin = (table[positions.view(-1, length)][:, None] for table in (cos, sin))

    def turned(x):
        first, second = x.chunk(2, dim=-1)
        return (x * cos + torch.cat((-second, first), dim=-1) * sin).to(x.dtype)

    return turned(queries), turned(keys)


def give_rope(model) -> None:
    """The table of angles that Unsloth's passes ask for."""
    rope = model.model.rotary_emb
    positions = torch.arange(model.config.max_position_embeddings).float()
    angles = torch.outer(positions, rope.inv_freq.float()).repeat(1, 2)
    rope.extend_rope_embedding = lambda *args, **kwargs: None
    rope.get_cached = lambda length, device: (angles.cos(), angles.sin())


def load(length: int = ROOM, tokens: bool = False, dtype=torch.float32):
    """The embedded model with an adapter that changes something already."""
    rows = TOKENS if tokens else None
    if SHAPE == "cpu":
        config = TrainConfig(model="tiny", load_in_4bit=False, target_modules=TARGETS, lora_r=8)
        model = load_model(replace(config, max_seq_length=length, token_rows=rows), None).float()
    else:
        base = AutoModelForCausalLM.from_pretrained(locate("tiny"), dtype=dtype)
        places = token_rows.locate(base, rows) if rows else None
        model = get_peft_model(base, LoraConfig(
            r=8, lora_alpha=16, target_modules=TARGETS, task_type="CAUSAL_LM",
            trainable_token_indices=places,
        ))  # fmt: skip
        if rows:
            token_rows.start(model, rows)
        give_rope(base)
        base.max_seq_length = base.model.max_seq_length = length
    random = torch.Generator().manual_seed(0)
    for name, parameter in sorted(model.named_parameters()):
        if "lora_" in name:
            parameter.data.normal_(std=0.1, generator=random)
    return model


def arguments_of(length: int = ROOM, **changes) -> dict:
    """What train.py gives the trainer, in fp32 and with an optimizer that runs on a CPU."""
    config = TrainConfig(
        model="tiny", max_seq_length=length, learning_rate=1e-2, warmup_steps=0, load_in_4bit=True
    )
    exact = {"use_cpu": True, "bf16": False, "optim": "adamw_torch", "eval_strategy": "epoch"}
    return {**choose_training_arguments(config, Path(SCRATCH)), **exact, **changes}


def trained(name: str, validation=None, model=None, **changes) -> Learned:
    """Three steps over 24 rows."""
    arguments = arguments_of(**{"max_steps": 3, **changes})
    rows, model = made_rows(24, 1), model or load()
    return Learned(f"{SCRATCH}/{name}", model, TOKENIZER, rows, arguments, validation)


def told(learned: Learned) -> dict:
    kinds = {str(p.dtype) for p in learned.trainer.model.parameters() if p.requires_grad}
    return {**learned.result(), "kinds": sorted(kinds)}


def packing() -> dict:
    """Three steps over packs, and what the examples in them cost alone and together."""
    learned = trained(
        "packing", packing=True, padding_free=True, train_sampling_strategy="random", **AT_ONCE
    )
    learned.trainer.model.eval()
    examples = [
        losses
        for pack in packed(dataset_of(made_rows(24, 1)), ROOM)
        for losses in losses_of_examples(learned.trainer, pack)
    ]
    return {**told(learned), "examples": examples}


def cut_at(length: int) -> dict:
    """Rows of which the longest are cut at this length: losses of batches, and row by row."""
    rows = [row._replace(input_ids=row.input_ids[:length], labels=row.labels[:length])
            for row in made_rows(8, 5, longest=400)]  # fmt: skip
    model = load(length)
    trainer = build_trainer(
        model, TOKENIZER, dataset_of(rows), arguments_of(length), {}, dataset_of(rows)
    )
    batches, total, learned = [], 0.0, 0
    for batch in trainer.get_train_dataloader():
        batch = trainer._prepare_inputs(batch)
        count = (batch["labels"][:, 1:] != -100).sum()
        loss = trainer.compute_loss(model, batch, num_items_in_batch=count)
        total, learned = total + (loss * count).item(), learned + count.item()
        batches.append(batch["input_ids"].shape[1])
    with model.disable_adapter():
        bare = exact_loss(model, rows)
    summed, counted = map(sum, zip(*sum_losses(model, rows), strict=True))
    return {
        "length": length, "widths": batches, "training": total / learned,
        "validation": trainer.evaluate()["eval_loss"], "exact": exact_loss(model, rows),
        "ranked": summed / counted, "bare": bare,
    }  # fmt: skip


def half() -> dict:
    """A base in fp16 with the arguments of a card without bf16: one step, autocast as there."""
    with torch.autocast("cpu", torch.float16):
        return told(trained("half", model=load(dtype=torch.float16), fp16=True, max_steps=1))


if __name__ == "__main__":
    TOKENIZER = load_tokenizer("tiny")
    if SHAPE == "cuda":
        patch_llama()
    found = {
        "padding": told(trained("padding")),
        "measured": told(trained("measured", made_rows(9, 4))),
        "tokens": told(trained("tokens", model=load(tokens=True))),
        "at once": told(trained("at once", **AT_ONCE)),
    }
    if SHAPE == "cuda":
        found |= {"packing": packing(), "half": half(), "cut": [cut_at(n) for n in LENGTHS]}
    print(json.dumps(found))
