"""Embeddings that an adapter replaces, resizes or changes although the base ties them."""

import json

import pytest
import torch
from merge_made import EVERY, merged_by_peft, read, write_adapter, write_base, written
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

from threetoe.export.merge.four_bit import merged_config
from threetoe.export.merge.merge import merge
from threetoe.export.merge.options import MergeOptions

IDS = torch.arange(24).view(2, 12)


def merged(base, adapter, target, dtype=None):
    """What merge() said, with config.json beside the weights."""
    target.mkdir()
    facts = merge(base, adapter, target, MergeOptions(dtype=dtype, rounding="nearest"))
    values = merged_config(base, facts, [2])
    (target / "config.json").write_text(json.dumps(values), encoding="utf-8")
    return facts


def untied(base, folder):
    """The same model with a matrix of its own at either end."""
    values = json.loads((base / "config.json").read_text(encoding="utf-8"))
    folder.mkdir()
    changed = json.dumps(values | {"tie_word_embeddings": False})
    (folder / "config.json").write_text(changed, encoding="utf-8")
    tensors = written(base)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.mark.parametrize(
    "options",
    [
        {"modules_to_save": ["embed_tokens"]},
        {"modules_to_save": ["lm_head"]},
        {"modules_to_save": ["lm_head", "embed_tokens"]},
        {"target_modules": ["q_proj", "embed_tokens"]},
        {"target_modules": ["q_proj", "lm_head"]},
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_tied_embeddings_that_training_parted_are_split(tmp_path, options, dtype):
    base = write_base(tmp_path / "base", dtype, tie_word_embeddings=True)
    adapter = write_adapter(base, tmp_path / "adapter", **options)
    assert merged(base, adapter, tmp_path / "out")["split"]
    expected = merged_by_peft(untied(base, tmp_path / "untied"), adapter).state_dict()
    found = written(tmp_path / "out")
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        assert torch.equal(tensor, expected[name].to(tensor.dtype)), name


@pytest.mark.parametrize("target", ["embed_tokens", "lm_head"])
def test_a_split_model_answers_as_the_adapter_does_unmerged(tmp_path, target):
    base = write_base(tmp_path / "base", tie_word_embeddings=True)
    adapter = write_adapter(base, tmp_path / "adapter", target_modules=["q_proj", target])
    merged(base, adapter, tmp_path / "out")
    with torch.no_grad():
        unmerged = PeftModel.from_pretrained(read(base), adapter).eval()(IDS).logits
        assert torch.allclose(read(tmp_path / "out")(IDS).logits, unmerged, atol=1e-5)
        assert not torch.allclose(merged_by_peft(base, adapter)(IDS).logits, unmerged, atol=1e-2)


@pytest.mark.parametrize("options", [{}, {"ensure_weight_tying": True}], ids=str)
def test_equal_embeddings_stay_tied(tmp_path, options):
    base = write_base(tmp_path / "base", tie_word_embeddings=True)
    saved = ["lm_head", "embed_tokens"]
    adapter = write_adapter(base, tmp_path / "adapter", modules_to_save=saved, **options)
    file = adapter / "adapter_model.safetensors"
    tensors = load_file(file)
    entry = tensors["base_model.model.model.embed_tokens.weight"]
    save_file(tensors | {"base_model.model.lm_head.weight": entry.clone()}, file)
    facts = merged(base, adapter, tmp_path / "out")
    found = written(tmp_path / "out")
    assert not facts["split"] and "lm_head.weight" not in found
    assert torch.equal(found["model.embed_tokens.weight"], entry)


@pytest.mark.parametrize(
    ("rows", "tie", "options"),
    [
        (103, False, {"modules_to_save": ["embed_tokens", "lm_head"]}),
        (90, False, {"modules_to_save": ["embed_tokens", "lm_head"]}),
        (103, True, {"modules_to_save": ["embed_tokens", "lm_head"]}),
        (103, False, {"target_modules": ["q_proj", "embed_tokens", "lm_head"]}),
        (103, False, {}),
    ],
    ids=str,
)
def test_a_resized_vocabulary_is_merged_and_stated(tmp_path, rows, tie, options):
    base = write_base(tmp_path / "base", tie_word_embeddings=tie)
    model = read(base)
    model.resize_token_embeddings(rows)
    model = get_peft_model(model, LoraConfig(**{"r": 4, "target_modules": EVERY} | options))
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter) * parameter.requires_grad
    model.save_pretrained(tmp_path / "adapter")
    facts = merged(base, tmp_path / "adapter", tmp_path / "out")
    assert (facts["vocab_size"], facts["split"]) == (rows, tie)
    found = read(tmp_path / "out")
    assert found.config.vocab_size == rows
    with torch.no_grad():
        assert torch.equal(found(IDS).logits, model.merge_and_unload().eval()(IDS).logits)
