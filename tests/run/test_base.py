"""Which base weights an export merges into, without loading or downloading any."""

import json
import shutil
from types import SimpleNamespace

import pytest
from conftest import TINY

from threetoe.errors import UserError
from threetoe.export.merge.base_weights import base_weights, dequantizes, original_of
from threetoe.options.export import ExportConfig
from threetoe.run.base import check_model


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"intermediate_size": 640}, r"gate_proj\.weight \[640, 256\], and its weights hold "
                                     r"\[512, 256\]"),
        ({"vocab_size": 4096}, r"embed_tokens\.weight \[4096, 256\], and its weights hold \[2048,"),
        ({"num_hidden_layers": 5}, r"layers\.4\..* \[256, 256\], and it is not in its weights"),
    ],
)  # fmt: skip
def test_weights_of_other_shapes_than_the_configuration_are_refused(changes, said, tmp_path):
    base = shutil.copytree(TINY, tmp_path / "base")
    check_model(str(base))
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    (base / "config.json").write_text(json.dumps(config | changes), encoding="utf-8")
    with pytest.raises(UserError, match=said):
        check_model(str(base))


def run_of(model, load_in_4bit=True):
    return SimpleNamespace(options={"model": str(model), "load_in_4bit": load_in_4bit})


@pytest.fixture
def four(tmp_path):
    """A folder that says of itself that it holds 4 bits."""
    (tmp_path / "four").mkdir()
    config = {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}
    (tmp_path / "four" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return tmp_path / "four"


@pytest.fixture
def sixteen(tmp_path):
    (tmp_path / "sixteen").mkdir()
    (tmp_path / "sixteen" / "config.json").write_text("{}", encoding="utf-8")
    return tmp_path / "sixteen"


@pytest.mark.parametrize(
    ("model", "original"),
    [
        ("unsloth/Llama-3.2-1B-Instruct-unsloth-bnb-4bit", "unsloth/Llama-3.2-1B-Instruct"),
        ("unsloth/llama-3.2-1b-instruct-unsloth-bnb-4bit", "unsloth/Llama-3.2-1B-Instruct"),
        ("unsloth/llama-3-8b-bnb-4bit", "unsloth/llama-3-8b"),
        ("unsloth/Qwen2-70B-bnb-4bit", "Qwen/Qwen2-70B"),  # not by its own name
        ("someone/their-model-bnb-4bit", "someone/their-model"),
    ],
)
def test_the_16_bit_original_is_found_by_unsloths_table_and_by_name(model, original):
    assert original_of(model) == original


def test_a_folder_names_its_original_in_its_card(four, sixteen):
    with pytest.raises(UserError, match="name that one with --base"):
        original_of(str(four))
    card = f"---\nlicense: mit\nbase_model:\n- {sixteen}\n---\n# Four\n"
    (four / "README.md").write_text(card, encoding="utf-8")
    assert original_of(str(four)) == str(sixteen)
    assert base_weights(run_of(four), ExportConfig(base_weights="16bit")) == sixteen


@pytest.mark.parametrize("asked", [None, "dequantized"])
def test_weights_stored_in_4_bits_are_merged_into_themselves(four, asked):
    config = ExportConfig(base_weights=asked)
    assert base_weights(run_of(four), config) == four
    assert not dequantizes(run_of(four), config)  # they are not rounded a second time


def test_weights_quantised_while_loading_are_rounded_unless_16_bits_are_asked(sixteen):
    run = run_of(sixteen)
    assert dequantizes(run, ExportConfig())
    assert dequantizes(run, ExportConfig(base_weights="dequantized"))
    assert not dequantizes(run, ExportConfig(base_weights="16bit"))
    assert not dequantizes(run_of(sixteen, load_in_4bit=False), ExportConfig())


def test_another_base_is_taken_as_it_is_unless_asked(four, sixteen):
    config = ExportConfig(base=str(sixteen))
    assert base_weights(run_of(four), config) == sixteen
    assert not dequantizes(run_of(four), config)
    asked = ExportConfig(base=str(sixteen), base_weights="dequantized")
    assert dequantizes(run_of(four), asked)


def test_what_cannot_be_had_is_refused(four, sixteen):
    run = run_of(sixteen, load_in_4bit=False)
    with pytest.raises(UserError, match="was not quantised while loading; choose 16bit"):
        dequantizes(run, ExportConfig(base_weights="dequantized"))
    with pytest.raises(UserError, match="is stored in 4 bits"):
        dequantizes(run, ExportConfig(base=str(four), base_weights="16bit"))
