"""Rounding by chance in proportion: what is learned stays, and the bits are always the same."""

import hashlib
import math

import pytest
import torch
from merge_made import write_adapter, write_base, written
from safetensors.torch import load_file, save_file

from threetoe.errors import UserError
from threetoe.export.merge.four_bit import merge_4bit
from threetoe.export.merge.merge import merge
from threetoe.export.merge.nf4 import as_used_in_4bit
from threetoe.export.merge.options import MergeOptions, stays
from threetoe.export.merge.rounding import Chance, keys
from threetoe.export.verify.weights import Weights


def rounded(numbers, dtype="BF16", name="w"):
    numbers = numbers.clone()
    Chance(name, tuple(numbers.shape)).round(numbers, slice(None), dtype)
    return numbers


def test_the_bits_are_the_same_on_every_machine():
    assert keys("a name", 3).tolist() == [2066350071, 70711933, 547819841]
    numbers = torch.arange(1, 12_001, dtype=torch.float32).view(60, 200) / 7
    found = rounded(numbers).bfloat16().view(torch.uint8).numpy().tobytes()
    assert hashlib.sha256(found).hexdigest()[:16] == "6968a587ec991691"


@pytest.mark.parametrize("dtype", ["BF16", "F16"])
def test_a_number_becomes_one_of_its_neighbours_in_proportion(dtype):
    """A mean over many tries: nothing is gained or lost."""
    torch.manual_seed(0)
    numbers = torch.randn(1, 64).repeat(20_000, 1)
    found = rounded(numbers, dtype)
    kind = {"BF16": torch.bfloat16, "F16": torch.float16}[dtype]
    assert torch.equal(found, found.to(kind).float())
    step = found.amax(0) - found.amin(0)
    assert (step <= numbers[0].abs() * torch.finfo(kind).eps).all()
    assert ((found.mean(0) - numbers[0]).abs() < 4 * step / 2 / math.sqrt(20_000)).all()


def test_what_needs_no_rounding_stays():
    exact = torch.tensor([[0.0, -0.0, 1.0, -3.5, 2.0**-130, torch.finfo(torch.bfloat16).max]])
    for numbers in (exact, -exact):
        found = rounded(numbers.repeat(500, 1))
        assert torch.equal(found.view(torch.int32), numbers.repeat(500, 1).view(torch.int32))


def test_rows_are_rounded_alike_in_whatever_pieces_they_come():
    torch.manual_seed(0)
    whole, pieces = torch.randn(50, 30), []
    chance = Chance("w", (50, 30))
    for first, last in ((0, 7), (7, 8), (8, 50)):
        pieces.append(whole[first:last].clone())
        chance.round(pieces[-1], slice(first, last), "BF16")
    single = whole[[41, 3]]
    chance.round(single, [41, 3], "BF16")
    found = rounded(whole)
    assert torch.equal(torch.cat(pieces), found) and torch.equal(single, found[[41, 3]])
    assert not torch.equal(rounded(whole, name="v"), found)


def test_neighbours_are_rounded_independently():
    """The largest singular value of the errors is that of independent ones, not of a pattern."""
    numbers = torch.full((400, 300), 1 + 2**-8)  # half of bf16's step
    errors = (rounded(numbers) - numbers) / 2**-8
    assert torch.linalg.matrix_norm(errors, 2) < 1.1 * (math.sqrt(400) + math.sqrt(300))


@pytest.fixture
def faint(tmp_path):
    """A base in bf16 and an adapter whose changes are nearly all smaller than half a step."""
    base = write_base(tmp_path / "base", "bfloat16", hidden_size=192, intermediate_size=512)
    adapter = write_adapter(base, tmp_path / "adapter")
    file = adapter / "adapter_model.safetensors"
    save_file({name: 0.02 * tensor for name, tensor in load_file(file).items()}, file)
    return base, adapter


def share_kept(pair, folder, write=merge, **options) -> float:
    """Of what the adapter adds to the weights, by projection on it."""
    for name, dtype in (("found", None), ("exact", "float32")):
        (folder / name).mkdir(parents=True)
        made = write if name == "found" else merge
        made(*pair, folder / name, MergeOptions(dtype, **options))
    base = Weights(pair[0], options.get("as_used", stays))
    found, wanted = Weights(folder / "found"), Weights(folder / "exact")
    kept = total = 0.0
    for name in wanted.stored:
        change = (wanted.read(name) - base.read(name)).double()
        kept += float(((found.read(name) - base.read(name)) * change).sum())
        total += float((change * change).sum())
    return kept / total


def test_changes_below_half_a_step_are_kept_and_to_the_nearest_they_are_lost(faint, tmp_path):
    assert share_kept(faint, tmp_path / "chance") == pytest.approx(1, abs=0.03)
    assert share_kept(faint, tmp_path / "nearest", rounding="nearest") < 0.5


def test_what_was_learned_on_a_4_bit_base_is_kept_in_4_bits_and_to_the_nearest_it_is_lost(
    faint, tmp_path
):
    options = {"write": merge_4bit, "as_used": as_used_in_4bit}
    assert share_kept(faint, tmp_path / "chance", **options) == pytest.approx(1, abs=0.3)
    assert abs(share_kept(faint, tmp_path / "nearest", rounding="nearest", **options)) < 0.3


def test_a_merge_has_the_same_bits_whatever_its_shards(faint, tmp_path):
    found = []
    for size, threads in ((10**9, 1), (200_000, 2)):
        torch.set_num_threads(threads)
        (folder := tmp_path / str(size)).mkdir()
        merge(*faint, folder, MergeOptions(max_shard_size=size))
        found.append(written(folder))
    assert len(list(folder.glob("*.safetensors"))) > 3
    assert all(torch.equal(tensor, found[1][name]) for name, tensor in found[0].items())


def test_what_the_adapter_does_not_touch_is_the_nearest_to_the_base(tmp_path):
    """Single rows are trained: the others, in fp32, are as --dtype bfloat16 makes them."""
    base = write_base(tmp_path / "base")
    options = {"target_modules": ["q_proj"], "trainable_token_indices": {"embed_tokens": [3, 5]}}
    adapter = write_adapter(base, tmp_path / "adapter", **options)
    (tmp_path / "out").mkdir()
    merge(base, adapter, tmp_path / "out", MergeOptions("bfloat16"))
    found, before = written(tmp_path / "out"), written(base)
    rows = [row for row in range(96) if row not in (3, 5)]
    for name, tensor in found.items():
        kept = rows if "embed_tokens" in name else slice(None)
        if "q_proj" not in name:
            assert torch.equal(tensor[kept], before[name].bfloat16()[kept]), name


def test_what_is_beyond_a_type_is_refused_before_it_is_rounded(faint, tmp_path):
    file = faint[1] / "adapter_model.safetensors"
    tensors = load_file(file)
    name = next(name for name in tensors if "lora_A" in name)
    bits = torch.full(tensors[name].shape, -1, dtype=torch.int32)  # a NaN of all ones
    save_file(tensors | {name: bits.view(torch.float32)}, file)
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match="merges to inf or nan"):
        merge(*faint, tmp_path / "out")
