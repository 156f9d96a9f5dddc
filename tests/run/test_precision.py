"""4 bits only where they are good; what is stored in 16 bits is asked in all of them."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from conftest import ROOT, TINY, run_in_one_process
from transformers import AutoModelForCausalLM, AutoTokenizer

from threetoe.backend import precision
from threetoe.backend.precision import choose_precision
from threetoe.backend.sizes import count_of_llama, count_parameters
from threetoe.machine import space

LLAMA3_8B = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 128256,
    "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "dtype": "bfloat16",
}  # fmt: skip


@pytest.fixture
def large(tmp_path):
    """The configuration of Llama 3 8B, and nothing else of it."""
    (tmp_path / "config.json").write_text(json.dumps(LLAMA3_8B), encoding="utf-8")
    return str(tmp_path)


def test_parameters_are_counted_from_the_configuration(large):
    assert count_parameters(large) == 8_030_261_248
    sizes = SimpleNamespace(**LLAMA3_8B, tie_word_embeddings=False)
    assert count_of_llama(sizes) == 8_030_261_248  # the same, without torch
    model = AutoModelForCausalLM.from_pretrained(TINY)
    assert count_parameters("tiny") == sum(weight.numel() for weight in model.parameters())


def test_a_small_base_has_16_bits_unless_4_are_asked_for_or_stored():
    assert choose_precision("tiny", None, stored_in_4bit=False) == (
        False, "3M parameters in bf16", "--load-in-4bit for 4 bits",
    )  # fmt: skip
    assert choose_precision("tiny", True, stored_in_4bit=False)[:2] == (
        True, "3M parameters in 4 bits",
    )  # fmt: skip
    assert choose_precision("tiny", None, stored_in_4bit=True).in_4bit


def test_a_large_base_has_4_bits_where_16_have_no_room(large, monkeypatch):
    for room, in_4bit in ((30e9, True), (40e9, False)):
        monkeypatch.setattr(precision, "available_memory", lambda room=room: room)
        assert choose_precision(large, None, stored_in_4bit=False).in_4bit is in_4bit
    chosen = choose_precision(large, False, stored_in_4bit=False)
    assert chosen == (False, "8.0B parameters in bf16", "")
    assert space.available_memory()


LOOK = """
import torch

def after_train(trainer, folder):
    kinds = {str(weight.dtype) for weight in trainer.model.parameters()}
    with torch.no_grad(), trainer.model.disable_adapter():
        logits = trainer.model(torch.tensor([[1, 5, 9, 100, 7]])).logits
    torch.save((kinds, logits), folder / "seen")
"""
ASK = """
import sys
from dataclasses import replace
from pathlib import Path
import torch
from threetoe.backend.model import load_model
from threetoe.machine.libraries import load_unsloth
from threetoe.options.train import TrainConfig

load_unsloth()
model = load_model(TrainConfig(model="base", max_seq_length=64), adapter=Path("base"))
with torch.no_grad():
    logits = model(torch.tensor([[1, 5, 9, 100, 7]])).logits
torch.save(({str(weight.dtype) for weight in model.parameters()}, logits), "asked")
"""


@pytest.fixture(scope="module")
def halves(tmp_path_factory):
    """The tiny model in fp16, moved a little, so that bf16 cannot hold it; what training made of
    it, and what asking does."""
    folder = tmp_path_factory.mktemp("halves")
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_pretrained(TINY, dtype=torch.float32)
    for weight in model.parameters():
        weight.data *= 1 + 0.003 * torch.rand_like(weight)
    model.half().save_pretrained(folder / "base")
    AutoTokenizer.from_pretrained(TINY).save_pretrained(folder / "base")
    (folder / "look.py").write_text(LOOK, encoding="utf-8")
    train = "train.py --model base --max-steps 2 --output-dir run --plugin look.py".split()
    (trained,) = run_in_one_process([["python", *train]], folder)
    assert trained["code"] == 0, trained
    python = [sys.executable, "-c", ASK]
    subprocess.run(python, cwd=folder, check=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    return folder, trained["stderr"]


@pytest.mark.parametrize("place", ["run/seen", "asked"])
def test_an_fp16_checkpoint_keeps_its_weights_on_a_cpu(halves, place):
    folder, _ = halves
    kinds, logits = torch.load(folder / place)
    assert kinds == {"torch.float32"}
    model = AutoModelForCausalLM.from_pretrained(folder / "base", dtype=torch.float32)
    with torch.no_grad():
        theirs = model(torch.tensor([[1, 5, 9, 100, 7]])).logits
    assert (logits - theirs).abs().max() < 1e-3


def test_what_is_loaded_is_said_and_recorded(halves):
    folder, said = halves
    assert "base: 3M parameters in fp32; --load-in-4bit for 4 bits" in said
    record = json.loads((folder / "run" / "run.json").read_text(encoding="utf-8"))
    assert record["precision"] == "3M parameters in fp32"
    assert record["options"]["load_in_4bit"] is False
