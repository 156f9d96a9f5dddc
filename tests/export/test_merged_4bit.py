"""--merged-4bit writes what transformers would save of the merged model quantised while loading."""

import json
from pathlib import Path

import pytest
import torch
from conftest import TINY
from merge_made import write_adapter, write_base
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from threetoe.export.merge.four_bit import merge_4bit, merged_config
from threetoe.export.merge.merge import merge
from threetoe.export.merge.options import MergeOptions


def quantised_by_transformers(base: Path, adapter: Path, root: Path, dtype: str | None) -> Path:
    """The merge in 16 bits, loaded in 4 and saved."""
    (root / "sixteen").mkdir()
    facts = merge(base, adapter, root / "sixteen", MergeOptions(dtype))
    values = merged_config(base, facts, [2])
    (root / "sixteen" / "config.json").write_text(json.dumps(values), encoding="utf-8")
    asked = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=facts["dtype"],
    )  # fmt: skip
    model = AutoModelForCausalLM.from_pretrained(
        root / "sixteen", dtype=facts["dtype"], quantization_config=asked
    )
    model.save_pretrained(root / "four")
    return root / "four"


@pytest.mark.parametrize(
    ("base_options", "dtype"),
    [
        ({}, "bfloat16"),
        ({"tie_word_embeddings": True, "attention_bias": True}, None),
        ({"hidden_size": 36, "intermediate_size": 50, "num_attention_heads": 3,
          "num_key_value_heads": 1}, "float16"),
    ],
    ids=["bfloat16", "tied", "odd"],
)  # fmt: skip
def test_every_tensor_equals_that_of_quantising_the_merged_model(tmp_path, base_options, dtype):
    base = write_base(tmp_path / "base", "bfloat16", **base_options)
    adapter = write_adapter(base, tmp_path / "adapter")
    expected = quantised_by_transformers(base, adapter, tmp_path, dtype)
    out = tmp_path / "out"
    out.mkdir()
    merge_4bit(base, adapter, out, MergeOptions(dtype))
    tensors, found = load_file(expected / "model.safetensors"), load_file(out / "model.safetensors")
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(found[name], tensor) and found[name].dtype == tensor.dtype, name


def test_it_loads_in_plain_transformers_with_the_logits_of_quantising_the_merge(tmp_path):
    adapter = write_adapter(TINY, tmp_path / "adapter")
    expected = quantised_by_transformers(TINY, adapter, tmp_path, None)
    out = tmp_path / "out"
    out.mkdir()
    options = MergeOptions(max_shard_size=2_000_000)
    values = merged_config(TINY, merge_4bit(TINY, adapter, out, options), [2])
    (out / "config.json").write_text(json.dumps(values), encoding="utf-8")
    assert len(list(out.glob("model-*.safetensors"))) > 1
    stated = [json.loads((folder / "config.json").read_text("utf-8")) for folder in (expected, out)]
    assert stated[0]["quantization_config"] == stated[1]["quantization_config"]
    models = [AutoModelForCausalLM.from_pretrained(folder) for folder in (expected, out)]
    ids = torch.arange(24).view(2, 12)
    with torch.no_grad():
        assert torch.equal(*(model(ids).logits for model in models))


def test_a_stopped_export_goes_on_with_the_next_shard(tmp_path):
    adapter = write_adapter(TINY, tmp_path / "adapter")
    out = tmp_path / "out"
    out.mkdir()
    merge_4bit(TINY, adapter, out, MergeOptions(max_shard_size=2_000_000))
    first, *others = sorted(out.glob("model-*.safetensors"))
    whole, before = [file.read_bytes() for file in others], first.stat()
    for file in others:
        file.rename(f"{file}.part")
    merge_4bit(TINY, adapter, out, MergeOptions(max_shard_size=2_000_000))
    assert first.stat().st_mtime_ns == before.st_mtime_ns
    assert [file.read_bytes() for file in others] == whole
    assert not list(out.glob("*.part"))


def test_progress_counts_up_to_the_end_also_behind_shards_that_are_there(tmp_path):
    adapter = write_adapter(TINY, tmp_path / "adapter")
    out = tmp_path / "out"
    out.mkdir()
    told = []
    progress = lambda done, total: told.append((done, total))  # noqa: E731
    merge_4bit(TINY, adapter, out, MergeOptions(max_shard_size=2_000_000, progress=progress))
    steps = [done for done, _ in told]
    assert steps == sorted(steps) and told[-1][0] == told[-1][1] and len(told) > 10
    sorted(out.glob("model-*.safetensors"))[-1].unlink()
    merge_4bit(TINY, adapter, out, MergeOptions(max_shard_size=2_000_000, progress=progress))
    assert told[-1] == (steps[-1], steps[-1])
