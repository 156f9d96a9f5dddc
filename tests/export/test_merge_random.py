"""Random adapters on random bases: every merged tensor is PEFT's fp32 merge rounded once."""

import random

import pytest
import torch
from merge_made import EVERY, assert_equals_peft, merged_by_peft, read, write_base, written
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import Phi3Config, Phi3ForCausalLM

from threetoe.export.merge.merge import merge
from threetoe.export.merge.options import MergeOptions

SAVED = [None, ["lm_head"], ["embed_tokens"], ["norm"], ["embed_tokens", "lm_head"]]
PATTERNS = ["q_proj", "layers.1.mlp.up_proj", r"layers\.0\.self_attn\.[kv]_proj", "lm_head"]


def drawn(seed: int) -> tuple[dict, dict, str, str | None]:
    """Options of a base and of an adapter, the base's dtype, and that asked for."""
    draw = random.Random(seed)
    dtypes = ["float32", "float16", "bfloat16"]
    base = {
        "hidden_size": draw.choice([48, 64, 36 * 4]),
        "intermediate_size": draw.choice([80, 129]),
        "vocab_size": draw.choice([96, 131]),
        "attention_bias": draw.random() < 0.5,
        "mlp_bias": draw.random() < 0.3,
        "max_shard_size": draw.choice(["1GB", "40KB"]),
    }
    targets = draw.sample([*EVERY, "embed_tokens", "lm_head"], draw.randint(1, 9))
    saved = [name for name in draw.choice(SAVED) or [] if name not in targets]
    adapter = {
        "r": draw.randint(1, 9),
        "lora_alpha": draw.choice([1, 7, 16, 32]),
        "rank_pattern": {p: draw.randint(1, 12) for p in PATTERNS if draw.random() < 0.3},
        "alpha_pattern": {p: draw.randint(1, 40) for p in PATTERNS if draw.random() < 0.3},
        "use_rslora": draw.random() < 0.4,
        "use_dora": draw.random() < 0.4,
        "target_modules": targets,
        "modules_to_save": saved or None,
        "bias": draw.choice(["none", "none", "all", "lora_only"]),
    }
    return base, adapter, draw.choice(dtypes), draw.choice([None, *dtypes])


def write_random(base, folder, seed, options):
    """An adapter whose numbers are all drawn: at its start PEFT's changes nothing."""
    model = get_peft_model(read(base), LoraConfig(**options))
    torch.manual_seed(seed)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("seed", range(24))
def test_a_random_merge_equals_pefts_bit_for_bit(tmp_path, seed):
    base_options, options, stored, asked = drawn(seed)
    base = write_base(tmp_path / "base", stored, **base_options)
    adapter = write_random(base, tmp_path / "adapter", seed, options)
    assert_equals_peft(base, adapter, tmp_path / "out", asked)


def test_fused_projections_are_merged_by_their_own_names(tmp_path):
    sizes = {"hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2, "vocab_size": 96}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "pad_token_id": 0}
    model = Phi3ForCausalLM(Phi3Config(**sizes, **heads)).bfloat16()
    model.save_pretrained(tmp_path / "base")
    fused = ["qkv_proj", "gate_up_proj", "o_proj", "down_proj"]
    options = {"r": 3, "lora_alpha": 5, "target_modules": fused, "use_dora": True}
    adapter = write_random(tmp_path / "base", tmp_path / "adapter", 0, options)
    facts = assert_equals_peft(tmp_path / "base", adapter, tmp_path / "out")
    assert facts["merged"] == 8


def test_adapters_merged_in_turn_equal_peft_doing_the_same(tmp_path):
    base = write_base(tmp_path / "base")
    both = [
        write_random(base, tmp_path / "first", 1, {"r": 4, "target_modules": EVERY}),
        write_random(base, tmp_path / "second", 2, {"r": 7, "target_modules": ["q_proj"]}),
    ]
    expected = PeftModel.from_pretrained(merged_by_peft(base, both[0]), both[1])
    expected = expected.merge_and_unload().state_dict()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    merge(base, both[0], tmp_path / "one")
    merge(
        tmp_path / "one",
        both[1],
        tmp_path / "two",
        MergeOptions(dtype="bfloat16", rounding="nearest"),
    )
    for name, tensor in written(tmp_path / "two").items():
        assert torch.equal(tensor, expected[name].bfloat16()), name
