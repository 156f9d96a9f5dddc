"""What a merge takes for a 4-bit base is what that base holds once loaded, bit for bit."""

from conftest import TINY
from safetensors.torch import load_file

from threetoe.nf4 import as_used_in_4bit


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
            assert torch.equal(as_used_in_4bit(name)(stored[name]), held)
            assert not torch.equal(stored[name], held)
    assert {name for name in stored if as_used_in_4bit(name)} == quantised
    assert len(quantised) == 7 * model.config.num_hidden_layers
