"""What Unsloth does with our arguments on a GPU, without one: each shape in a process of its own
(cuda_shaped.py). What needs a real GPU is marked gpu in tests/train/test_trainer.py."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import ROOT

if not find_spec("cut_cross_entropy"):
    pytest.skip("what Unsloth's GPU branches import is missing: make test", allow_module_level=True)
SCRIPT = Path(__file__).with_name("cuda_shaped.py")


def trained_as(shape, folder):
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", SCRIPT, shape], cwd=folder, timeout=600,
        env={**os.environ, "PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True, text=True, encoding="utf-8",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def cuda(tmp_path_factory):
    return trained_as("cuda", tmp_path_factory.mktemp("cuda"))


@pytest.fixture(scope="module")
def cpu(tmp_path_factory):
    return trained_as("cpu", tmp_path_factory.mktemp("cpu"))


def test_the_losses_are_those_of_the_cpu(cuda, cpu):
    """Padded, measured between, with new tokens, and all rows at once."""
    for name in ("padding", "measured", "tokens", "at once"):
        assert cuda[name]["losses"] == pytest.approx(cpu[name]["losses"], abs=1e-3), name
        assert cuda[name]["losses"][2] < cuda[name]["losses"][0], name
    measured = [loss for _, loss in cuda["measured"]["measured"]]
    assert measured == pytest.approx([loss for _, loss in cpu["measured"]["measured"]], abs=1e-3)
    assert len(measured) > 1


def test_packed_rows_train_as_padded_rows_do(cuda):
    assert cuda["packing"]["losses"] == pytest.approx(cuda["at once"]["losses"], abs=1e-3)
    assert cuda["packing"]["losses"][2] < cuda["packing"]["losses"][0]
    assert "packing" not in cuda["packing"]["said"]  # no line that it was turned off


def test_examples_in_a_pack_do_not_see_each_other(cuda):
    assert len(cuda["packing"]["examples"]) > 10
    for inside, alone, crossed in cuda["packing"]["examples"]:
        assert inside == pytest.approx(alone, abs=1e-4)
        assert abs(crossed - alone) > 1e-3


def test_rows_cut_at_any_length_keep_their_labels(cuda):
    """Unsloth cuts the ids of a wider batch and not its labels: none is wider. The loss in batches
    is that of rows one by one, in training, in validation and in ranking."""
    for cut in cuda["cut"]:
        assert max(cut["widths"]) == cut["length"]  # some rows are cut
        assert cut["training"] == pytest.approx(cut["exact"], abs=1e-4), cut
        assert cut["validation"] == pytest.approx(cut["exact"], abs=1e-4), cut
        assert cut["ranked"] == pytest.approx(cut["bare"], abs=1e-4), cut
    assert [cut["length"] % 8 for cut in cuda["cut"]] == [0, 4, 1]


def test_batches_have_the_columns_that_unsloth_reads(cuda):
    assert cuda["padding"]["keys"] == ["attention_mask", "input_ids", "labels"]
    assert cuda["packing"]["keys"] == [
        "input_ids", "labels", "packed_seq_lengths", "position_ids",
    ]  # fmt: skip


def test_an_adapter_is_trained_in_fp32_and_its_loss_is_finite_under_fp16(cuda):
    """bf16 and fp16 round steps of 2e-4 away."""
    for name in ("padding", "packing", "tokens", "half"):
        assert cuda[name]["kinds"] == ["torch.float32"], name
    assert cuda["half"]["losses"][0] == pytest.approx(cuda["padding"]["losses"][0], abs=1e-2)
