"""Small bases and adapters, merged by us and by PEFT."""

from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from threetoe.export.merge.merge import merge
from threetoe.export.merge.options import MergeOptions

ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]

EVERY = [*ATTENTION, "gate_proj", "up_proj", "down_proj"]


def write_base(folder: Path, dtype="float32", max_shard_size="1GB", **options) -> Path:
    torch.manual_seed(0)
    sizes = {"vocab_size": 96, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(**(sizes | heads | options)))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    model.to(getattr(torch, dtype)).save_pretrained(folder, max_shard_size=max_shard_size)
    return folder


def write_adapter(base: Path, folder: Path, **options) -> Path:
    options = {"r": 4, "lora_alpha": 6, "target_modules": EVERY} | options
    model = get_peft_model(read(base), LoraConfig(**options))
    torch.manual_seed(1)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.2 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    return folder


def read(folder: Path):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def merged_by_peft(base: Path, adapter: Path):
    return PeftModel.from_pretrained(read(base), adapter).merge_and_unload()


def written(target: Path) -> dict:
    return {k: v for file in target.glob("*.safetensors") for k, v in load_file(file).items()}


def assert_equals_peft(base: Path, adapter: Path, target: Path, dtype=None) -> dict:
    """Rounded to the nearest; and by chance every number is one of the two beside PEFT's."""
    expected = merged_by_peft(base, adapter).state_dict()
    for rounding in ("stochastic", "nearest"):
        (target / rounding).mkdir(parents=True)
        options = MergeOptions(dtype=dtype, rounding=rounding)
        facts = merge(base, adapter, target / rounding, options)
        found = written(target / rounding)
        assert found.keys() == written(base).keys()
        for name, tensor in found.items():
            assert is_beside(tensor, expected[name]), name
        assert {str(tensor.dtype) for tensor in found.values()} == {f"torch.{facts['dtype']}"}
    for name, tensor in found.items():
        assert torch.equal(tensor, expected[name].to(tensor.dtype)), name
    return facts


def is_beside(rounded, number) -> bool:
    """Whether every rounded number is the number, or the next below or above it in its type."""
    near = number.to(rounded.dtype)
    beyond = (number > near.float()).float() - (number < near.float()).float()
    other = torch.nextafter(near, near + beyond.to(near.dtype))
    return bool(((rounded == near) | (rounded == other)).all())
