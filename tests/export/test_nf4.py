"""What a merge takes for a 4-bit base is what that base holds once loaded, bit for bit."""

import pytest
from conftest import TINY
from safetensors.torch import load_file, save_file

from threetoe.errors import UserError
from threetoe.export.merge.adapter import check_merge
from threetoe.export.merge.merge import merge
from threetoe.export.merge.nf4 import as_used_in_4bit
from threetoe.export.merge.options import MergeOptions


def test_every_weight_equals_that_of_the_model_loaded_in_4_bit():
    import torch
    from bitsandbytes.functional import dequantize_4bit
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    model = AutoModelForCausalLM.from_pretrained(
        TINY,
        dtype=torch.bfloat16,
        quantization_config=BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True
        ),
    )
    stored, quantised = load_file(TINY / "model.safetensors"), set()
    for name, parameter in model.named_parameters():
        state = getattr(parameter, "quant_state", None)
        if state is not None:
            quantised.add(name)
            held = dequantize_4bit(parameter.data, state)
            whole = stored[name]
            rows = as_used_in_4bit(name)(lambda a, b, w=whole: w[a:b], whole.shape, 7 * 64)
            assert torch.equal(rows(0, len(whole)), held)
            assert torch.equal(rows(64, 128), held[64:128])
            assert not torch.equal(stored[name], held)
    assert {name for name in stored if as_used_in_4bit(name)} == quantised
    assert len(quantised) == 7 * model.config.num_hidden_layers


ADAPTED = ["q_proj", "o_proj", "gate_proj", "down_proj"]


def config_of_4bit(double=True, kind="nf4"):
    import torch
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type=kind, bnb_4bit_use_double_quant=double,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )  # fmt: skip


def write_4bit(folder, **options):
    """A checkpoint as Unsloth publishes them: quantised, then saved by transformers."""
    import torch
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_pretrained(
        TINY, dtype=torch.bfloat16, quantization_config=config_of_4bit(**options)
    ).save_pretrained(folder)
    return folder


def write_adapter(folder):
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_pretrained(TINY, dtype=torch.float32)
    model = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules=ADAPTED))
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.05 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("options", [{}, {"double": False}, {"kind": "fp4"}], ids=str)
def test_a_base_stored_in_4_bits_is_merged_as_peft_merges_it_expanded(tmp_path, options):
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base, adapter = write_4bit(tmp_path / "base", **options), write_adapter(tmp_path / "adapter")
    (tmp_path / "out").mkdir()
    facts = merge(base, adapter, tmp_path / "out", MergeOptions(rounding="nearest"))
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16).dequantize().float()
    expected = PeftModel.from_pretrained(model, adapter).merge_and_unload().state_dict()
    found = load_file(tmp_path / "out" / "model.safetensors")
    assert found.keys() == load_file(TINY / "model.safetensors").keys()
    for name, tensor in found.items():
        assert torch.equal(tensor, expected[name].to(tensor.dtype)), name
    assert facts["dtype"] == "bfloat16"


def test_a_4bit_weight_without_its_scales_is_refused(tmp_path):
    base, adapter = write_4bit(tmp_path / "base"), write_adapter(tmp_path / "adapter")
    tensors = load_file(base / "model.safetensors")
    lost = next(name for name in tensors if name.endswith("nested_absmax"))
    save_file({k: v for k, v in tensors.items() if k != lost}, base / "model.safetensors")
    with pytest.raises(UserError, match=f"not understood: .*{lost}"):
        check_merge(base, adapter)
