import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from merge_made import (
    ATTENTION,
    EVERY,
    assert_equals_peft,
    merged_by_peft,
    read,
    write_adapter,
    write_base,
    written,
)
from safetensors.torch import load_file, save_file
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
)

from threetoe.errors import UserError
from threetoe.export.merge.adapter import check_merge
from threetoe.export.merge.merge import merge, plan_merge
from threetoe.export.merge.options import MergeOptions
from threetoe.export.merge.tensors import CHUNK


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("max_shard_size", ["1GB", "40KB"], ids=["single", "sharded"])
def test_the_merge_equals_pefts_bit_for_bit(tmp_path, dtype, max_shard_size):
    base = write_base(tmp_path / "base", dtype, max_shard_size)
    adapter = write_adapter(base, tmp_path / "adapter")
    facts = assert_equals_peft(base, adapter, tmp_path / "out")
    assert (facts["dtype"], facts["merged"], facts["tensors"]) == (dtype, 14, 21)


@pytest.mark.parametrize("stored", ["float32", "bfloat16"])
@pytest.mark.parametrize("asked", ["float32", "float16", "bfloat16"])
def test_another_dtype_is_one_rounding_of_the_fp32_merge(tmp_path, stored, asked):
    base = write_base(tmp_path / "base", stored)
    assert_equals_peft(base, write_adapter(base, tmp_path / "a"), tmp_path / "out", asked)


@pytest.mark.parametrize(
    "options",
    [
        {"rank_pattern": {"q_proj": 2, r"layers\.1\.mlp\.up_proj": 8}, "r": 5},
        {"alpha_pattern": {"v_proj": 3, "layers.0.self_attn.o_proj": 11}},
        {"use_rslora": True, "rank_pattern": {"k_proj": 3}},
        {"modules_to_save": ["lm_head", "norm"]},
        {"modules_to_save": ["embed_tokens"]},
        {"target_modules": [*ATTENTION, "lm_head"]},
        {"target_modules": ["q_proj", "embed_tokens"]},
        {"use_dora": True},
        {"use_dora": True, "target_modules": ["q_proj", "embed_tokens", "lm_head"]},
        {"bias": "all", "modules_to_save": ["lm_head"]},
        {"bias": "lora_only"},
        {"target_modules": r".*layers\.1\..*(gate|q)_proj"},
        {"target_modules": ["down_proj"], "layers_to_transform": [1]},
    ],
    ids=str,
)
def test_every_supported_option_equals_peft(tmp_path, options):
    base = write_base(tmp_path / "base", "bfloat16", attention_bias=True)
    assert_equals_peft(base, write_adapter(base, tmp_path / "adapter", **options), tmp_path / "out")


def test_tensors_larger_than_a_piece_equal_peft(tmp_path):
    sizes = {"hidden_size": 256, "intermediate_size": 3001, "vocab_size": 3001}
    base = write_base(tmp_path / "base", "bfloat16", **sizes)
    assert sizes["hidden_size"] * sizes["vocab_size"] > 2 * CHUNK
    adapter = write_adapter(base, tmp_path / "adapter", target_modules=[*EVERY, "embed_tokens"])
    assert_equals_peft(base, adapter, tmp_path / "out")
    assert_equals_peft(base, adapter, tmp_path / "fp32", "float32")


def test_a_bfloat16_adapter_is_summed_in_fp32(tmp_path):
    base = write_base(tmp_path / "base", "bfloat16")
    adapter = write_adapter(base, tmp_path / "adapter")
    file = adapter / "adapter_model.safetensors"
    save_file({name: tensor.bfloat16() for name, tensor in load_file(file).items()}, file)
    assert_equals_peft(base, adapter, tmp_path / "out")


def test_tied_embeddings_stay_tied(tmp_path):
    base = write_base(tmp_path / "base", tie_word_embeddings=True)
    assert_equals_peft(base, write_adapter(base, tmp_path / "adapter"), tmp_path / "out")
    assert "lm_head.weight" not in written(tmp_path / "out" / "nearest")


def test_the_transposed_weights_of_gpt2_are_merged(tmp_path):
    config = GPT2Config(vocab_size=64, n_positions=16, n_embd=24, n_layer=2, n_head=2)
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "base")
    options = {"target_modules": ["c_attn", "c_proj", "c_fc"], "fan_in_fan_out": True}
    for name, dora in {"lora": False, "dora": True}.items():
        adapter = write_adapter(tmp_path / "base", tmp_path / name, use_dora=dora, **options)
        (tmp_path / f"out-{name}").mkdir()
        merge(tmp_path / "base", adapter, tmp_path / f"out-{name}")
        expected = merged_by_peft(tmp_path / "base", adapter).transformer.state_dict()
        for key, tensor in written(tmp_path / f"out-{name}").items():
            assert torch.equal(tensor, expected[key.removeprefix("transformer.")]), key


def test_small_shards_load_in_plain_transformers_with_pefts_logits(tmp_path):
    base = write_base(tmp_path / "base")
    adapter = write_adapter(base, tmp_path / "adapter")
    target = tmp_path / "out"
    target.mkdir()
    facts = merge(base, adapter, target, MergeOptions(max_shard_size=60_000))
    shutil.copy(base / "config.json", target)
    index = json.loads((target / "model.safetensors.index.json").read_text(encoding="utf-8"))
    files = sorted(file.name for file in target.glob("*.safetensors"))
    assert sorted(set(index["weight_map"].values())) == files
    assert files[0] == f"model-00001-of-{len(files):05}.safetensors"
    assert index["metadata"]["total_size"] == facts["bytes"] > 60_000 * 2
    assert all((target / file).stat().st_size < 64_000 for file in files)
    ids = torch.arange(24).view(2, 12)
    with torch.no_grad():
        assert torch.equal(read(target)(ids).logits, merged_by_peft(base, adapter)(ids).logits)


def test_wide_numbers_stay_aligned_after_narrow_ones(tmp_path):
    base = write_base(tmp_path / "base", "bfloat16")
    tensors = load_file(base / "model.safetensors")
    tensors |= {"a_mask": torch.ones(3, dtype=torch.bool), "z_steps": torch.tensor(7)}
    tensors["model.norm.weight"] = tensors["model.norm.weight"].float()
    save_file(tensors, base / "model.safetensors")
    adapter = write_adapter(base, tmp_path / "adapter")
    (tmp_path / "out").mkdir()
    merge(base, adapter, tmp_path / "out")
    found = written(tmp_path / "out")
    assert {name: tensor.dtype for name, tensor in found.items()} == {
        name: tensor.dtype for name, tensor in tensors.items()
    }
    assert found["z_steps"] == 7


def test_progress_ends_with_every_byte(tmp_path):
    base = write_base(tmp_path / "base")
    told = []
    (tmp_path / "out").mkdir()
    facts = merge(
        base,
        write_adapter(base, tmp_path / "adapter"),
        tmp_path / "out",
        MergeOptions(progress=lambda done, total: told.append((done, total))),
    )
    assert len(told) == facts["tensors"]
    assert told[-1] == (facts["bytes"], facts["bytes"])


@pytest.fixture
def pair(tmp_path):
    base = write_base(tmp_path / "base")
    return base, write_adapter(base, tmp_path / "adapter")


def assert_refused(pair, tmp_path, *parts) -> str:
    """Nothing is written, and one line names all the parts."""
    target = tmp_path / "refused"
    target.mkdir()
    with pytest.raises(UserError) as caught:
        merge(*pair, target)
    assert list(target.iterdir()) == []
    assert any(all(part in line for part in parts) for line in caught.value.problems), caught.value
    return str(caught.value)


def change_config(file: Path, **changes) -> None:
    config = json.loads(file.read_text(encoding="utf-8")) | changes
    file.write_text(json.dumps(config), encoding="utf-8")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"peft_type": "LOHA"}, "LOHA"),
        ({"trainable_token_indices": [1, 2]}, "lacks the rows of embeddings"),
        ({"lora_bias": True}, "lora_bias=True"),
        ({"layer_replication": [[0, 2]]}, "layer_replication"),
        ({"target_parameters": ["experts.up"]}, "target_parameters"),
        ({"use_something_new": 3}, "use_something_new=3"),
        ({"init_lora_weights": "pissa_niter_4"}, "pissa_niter_4"),
        ({"lora_alpha": None}, "got null, at lora_alpha"),
        ({"r": 8}, "rank 8"),
        ({"use_dora": True}, "magnitude"),
        ({"fan_in_fan_out": True}, "does not fit"),
        ({"target_modules": [*EVERY, "lm_head"]}, "lacks lm_head"),
        ({"modules_to_save": ["norm"]}, "lacks model.norm"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_a_config_that_is_not_understood_is_refused(pair, tmp_path, changes, named):
    change_config(pair[1] / "adapter_config.json", **changes)
    assert_refused(pair, tmp_path, named)


Q = "base_model.model.model.layers.0.self_attn.q_proj."
Q_NAME = "model.layers.0.self_attn.q_proj"


@pytest.mark.parametrize(
    ("lost", "added", "named"),
    [
        (None, {Q + "lora_C.weight": torch.zeros(2, 2)}, [Q + "lora_C.weight", "[2, 2]"]),
        (None, {"stranger": torch.zeros(3)}, ["stranger F32 [3]"]),
        (None, {"base_model.model.extra.weight": torch.zeros(3)}, ["no extra.weight"]),
        (None, {Q + "lora_A.weight": torch.zeros(4, 9)}, ["[4, 9]", "[48, 48]", "rank 4"]),
        (None, {Q + "lora_B.weight": torch.zeros(48, 4).long()}, ["I64", Q_NAME]),
        (Q + "lora_B.weight", {}, ["A and B", Q + "lora_A.weight"]),
    ],
    ids=["unknown", "foreign", "homeless", "misshapen", "integers", "half"],
)
def test_adapter_tensors_without_a_place_are_refused(pair, tmp_path, lost, added, named):
    file = pair[1] / "adapter_model.safetensors"
    tensors = load_file(file) | added
    save_file({name: tensor for name, tensor in tensors.items() if name != lost}, file)
    assert_refused(pair, tmp_path, *named)


def test_an_adapter_of_fewer_layers_is_refused(pair, tmp_path):
    file = pair[1] / "adapter_model.safetensors"
    save_file({k: v for k, v in load_file(file).items() if ".layers.0." in k}, file)
    assert_refused(pair, tmp_path, "lacks model.layers.1", "and 6 more")


def test_a_vocabulary_resized_on_one_side_is_refused(tmp_path):
    base = write_base(tmp_path / "base")
    adapter = write_adapter(base, tmp_path / "adapter", modules_to_save=["lm_head"])
    tensors = load_file(adapter / "adapter_model.safetensors")
    tensors["base_model.model.lm_head.weight"] = torch.zeros(97, 48)
    save_file(tensors, adapter / "adapter_model.safetensors")
    assert_refused(
        (base, adapter), tmp_path, "lm_head.weight 97 rows", "embed_tokens.weight has 96"
    )


def test_a_quantised_base_is_refused(pair, tmp_path):
    file = pair[0] / "model.safetensors"
    tensors = load_file(file)
    tensors[Q_NAME + ".weight"] = torch.zeros(1152, 1, dtype=torch.uint8)
    tensors[Q_NAME + ".qzeros"] = torch.zeros(80, dtype=torch.uint8)
    save_file(tensors, file)
    assert_refused(pair, tmp_path, f"{Q_NAME}.qzeros U8 [80]", "and 1 more")
    change_config(pair[0] / "config.json", quantization_config={"quant_method": "gptq"})
    with pytest.raises(UserError, match="gptq"):
        check_merge(*pair)


@pytest.mark.parametrize(
    ("break_it", "named"),
    [
        (lambda base, adapter: os.truncate(base / "model.safetensors", 90_000), "cut short"),
        (lambda base, adapter: os.truncate(base / "model.safetensors", 100), "only its beginning"),
        (lambda base, adapter: (base / "model.safetensors").unlink(), "no weights"),
        (lambda base, adapter: (adapter / "adapter_config.json").unlink(), "No such file"),
        (
            lambda base, adapter: (adapter / "adapter_config.json").write_text("{"),
            "is damaged: Exp",
        ),
        (lambda base, adapter: (adapter / "adapter_model.safetensors").unlink(), "No such file"),
    ],
)
def test_damaged_folders_are_refused(pair, tmp_path, break_it, named):
    break_it(*pair)
    assert_refused(pair, tmp_path, named)


def test_a_shard_that_is_missing_or_incomplete_is_refused(tmp_path):
    base = write_base(tmp_path / "base", max_shard_size="40KB")
    pair = base, write_adapter(base, tmp_path / "adapter")
    index = base / "model.safetensors.index.json"
    listed = json.loads(index.read_text(encoding="utf-8"))
    listed["weight_map"]["model.ghost"] = listed["weight_map"]["model.norm.weight"]
    index.write_text(json.dumps(listed), encoding="utf-8")
    assert "model.ghost" in assert_refused(pair, tmp_path, "no shard holds")
    (base / listed["weight_map"]["model.norm.weight"]).unlink()
    with pytest.raises(UserError, match="No such file"):
        check_merge(*pair)


def test_an_unknown_dtype_is_refused(pair, tmp_path):
    with pytest.raises(UserError, match="Did you mean 'float16'"):
        merge(*pair, tmp_path, MergeOptions(dtype="float61"))


def test_an_overflow_in_fp16_names_the_tensor(pair, tmp_path):
    file = pair[1] / "adapter_model.safetensors"
    save_file(load_file(file) | {Q + "lora_B.weight": torch.full((48, 4), 1e5)}, file)
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match=f"{Q_NAME}.weight merges to inf.*float16.*65504"):
        merge(*pair, tmp_path / "out", MergeOptions(dtype="float16"))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_adapter_whose_training_diverged_is_refused(pair, tmp_path, dtype):
    file = pair[1] / "adapter_model.safetensors"
    tensors = load_file(file)
    tensors[Q + "lora_A.weight"][2, 5] = float("nan")
    save_file(tensors, file)
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match=f"{Q_NAME}.weight merges to inf or nan"):
        merge(*pair, tmp_path / "out", MergeOptions(dtype=dtype))


def test_a_missing_target_folder_is_an_error(pair, tmp_path):
    with pytest.raises(FileNotFoundError):
        merge(*pair, tmp_path / "missing")


MEASURE = """
import resource, sys
from pathlib import Path
import torch
from threetoe.export.merge.merge import merge
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
merge(*map(Path, sys.argv[1:]))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def write_large(root: Path, layers: int, side: int) -> tuple[Path, Path]:
    """A base of random fp16 matrices, written tensor by tensor, and an adapter for all of them."""
    names = [f"model.layers.{n}.mlp.up_proj" for n in range(layers)]
    size, header, adapter = side * side * 2, {}, {}
    for n, name in enumerate(names):
        ends = [n * size, (n + 1) * size]
        header[name + ".weight"] = {"dtype": "F16", "shape": [side, side], "data_offsets": ends}
        for part, shape in {"lora_A": (8, side), "lora_B": (side, 8)}.items():
            adapter[f"base_model.model.{name}.{part}.weight"] = torch.randn(shape) * 0.01
    (root / "base").mkdir()
    (root / "adapter").mkdir()
    with open(root / "base" / "model.safetensors", "wb") as file:
        text = json.dumps(header).encode()
        file.write(len(text).to_bytes(8, "little") + text)
        file.writelines(torch.randn(side, side).half().numpy() for _ in names)
    save_file(adapter, root / "adapter" / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 8, "lora_alpha": 8, "target_modules": ["up_proj"]}
    (root / "adapter" / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    return root / "base", root / "adapter"


def test_memory_does_not_grow_with_the_model(tmp_path):
    base, adapter = write_large(tmp_path, layers=12, side=4096)
    (tmp_path / "out").mkdir()
    command = [sys.executable, "-c", MEASURE, base, adapter, tmp_path / "out"]
    root = Path(__file__).parents[2]
    grown = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout
    assert float(grown) < 100  # MB, for a base of 400 MB
    assert (tmp_path / "out" / "model.safetensors").stat().st_size > 12 * 4096 * 4096 * 2


def test_the_checks_take_no_torch(pair):
    code = (
        "import sys; from pathlib import Path; from threetoe.export.merge.merge import check_merge;"
        "check_merge(*map(Path, sys.argv[1:]));"
        "assert not {'torch', 'safetensors', 'transformers', 'unsloth'} & sys.modules.keys()"
    )
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code, *pair], cwd=root, check=True)


def test_tensors_come_one_by_one_as_merge_writes_them(pair, tmp_path):
    (tmp_path / "out").mkdir()
    merge(*pair, tmp_path / "out", MergeOptions(dtype="bfloat16"))
    plan = plan_merge(*pair, MergeOptions(dtype="bfloat16"))
    expected = written(tmp_path / "out")
    assert {output.name for output in plan.outputs} == expected.keys()
    for output in plan.outputs:
        tensor = torch.cat([block.clone() for block in plan.blocks(output)])
        assert torch.equal(tensor, expected[output.name]) and tensor.shape == output.shape
