"""K-quants: which tensor gets which type, llama.cpp's own quantizer, and llama-quantize instead."""

import importlib.util
import json
import os
import sys

import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFReader, quants
from gguf_run import random_run
from quantizers_made import WIDE, put_program, without_ggml_fixture  # noqa: F401  a fixture
from tokenizers_made import KINDS

from threetoe.errors import Failure, UserError
from threetoe.export.gguf import types as quantize
from threetoe.export.gguf.gguf import check_gguf, write_gguf
from threetoe.options.export import ExportConfig

# llama.cpp's llama_model_quantize (through cyllama 0.2.18) wrote these types for an untied model
# of 19 blocks, 256 wide, with 4 query heads a key head: of attn_v, of ffn_down (both by block),
# of attn_output, and of all other matrices in blocks.
MORE = (0, 1, 4, 7, 10, 13, 16, 17, 18)
RULES = {
    "q6_k": ({}, {}, "Q6_K", "Q6_K"),
    "q5_k_m": (dict.fromkeys(MORE, "Q6_K"), dict.fromkeys(MORE, "Q6_K"), "Q5_K", "Q5_K"),
    "q5_k_s": ({}, {}, "Q5_K", "Q5_K"),
    "q4_k_m": (dict.fromkeys(MORE, "Q6_K"), dict.fromkeys(MORE, "Q6_K"), "Q4_K", "Q4_K"),
    "q4_k_s": (
        dict.fromkeys(range(4), "Q5_K"), dict.fromkeys(range(2), "Q5_K"), "Q4_K", "Q4_K",
    ),
    "q3_k_l": (
        dict.fromkeys(range(19), "Q5_K"), dict.fromkeys(range(19), "Q5_K"), "Q5_K", "Q3_K",
    ),
    "q3_k_m": (
        dict.fromkeys(range(19), "Q4_K") | {0: "Q5_K", 1: "Q5_K"},
        dict.fromkeys(range(19), "Q4_K") | {0: "Q5_K"}, "Q4_K", "Q3_K",
    ),
    "q3_k_s": ({}, {}, "Q3_K", "Q3_K"),
    "q2_k": (dict.fromkeys(range(19), "Q4_K"), dict.fromkeys(range(19), "Q3_K"), "Q3_K", "Q2_K"),
}  # fmt: skip


# What poses as llama-quantize: it writes down its words and copies the file.
@pytest.mark.parametrize("name", quantize.K_QUANTS)
def test_every_tensor_gets_the_type_that_llama_cpp_gives_it(name):
    def kind(tensor):
        return quantize.type_of(f"{tensor}.weight", (512, 256), name, 19, tied=False, group=4)

    values, downs, output, other = RULES[name]
    for block in range(19):
        assert kind(f"blk.{block}.attn_v") == values.get(block, other)
        assert kind(f"blk.{block}.ffn_down") == downs.get(block, other)
        assert kind(f"blk.{block}.attn_output") == output
        assert kind(f"blk.{block}.ffn_up") == kind(f"blk.{block}.attn_q") == other
        assert kind(f"blk.{block}.attn_norm") == "F32"
    assert (kind("output"), kind("token_embd")) == ("Q6_K", other)


@pytest.mark.parametrize(
    ("name", "width", "found"),
    [("q4_k_s", 320, "Q5_0"), ("q5_k_s", 96, "Q5_1"), ("q6_k", 96, "Q8_0"), ("q2_k", 96, "Q4_0"),
     ("q4_k_s", 40, "F16"), ("q8_0", 40, "F16")],
)  # fmt: skip
def test_rows_that_do_not_divide_into_blocks_get_another_type(name, width, found):
    shape = (64, width)
    assert quantize.type_of("blk.9.attn_q.weight", shape, name, 19, False, 4) == found


def test_a_tied_models_embeddings_are_as_fine_as_an_output():
    for name, found in {"q4_0": "Q8_0", "q4_k_m": "Q6_K", "f16": "F16"}.items():
        assert quantize.type_of("token_embd.weight", (9, 256), name, 4, True, 1) == found


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"])
def test_the_gguf_package_rounds_as_llama_cpp_does_bit_for_bit(kind):
    numbers = np.random.default_rng(0).normal(0, 1, 64 * 256).astype(np.float32)
    ours = quantize.rounded(numbers, kind)
    assert np.array_equal(ours, quantize.quantized_by_ggml(numbers, kind))


@pytest.mark.parametrize(("kind", "error"), [("Q6_K", 0.02), ("Q4_K", 0.08), ("Q2_K", 0.33)])
def test_k_quants_are_llama_cpps(kind, error):
    numbers = np.random.default_rng(0).normal(0, 1, 64 * 256).astype(np.float32)
    blocks = quantize.rounded(numbers, kind).reshape(64, -1)
    back = quants.dequantize(blocks, GGMLQuantizationType[kind])
    assert error / 3 < np.sqrt(np.mean((back.ravel() - numbers) ** 2)) < error


def run_wide(tmp_path):
    folder, run, _ = random_run(tmp_path, "Llama", KINDS["llama3"](), **WIDE)
    return run, ExportConfig(run=folder, gguf=("q4_k_m",))


def test_without_a_quantizer_one_line_says_what_to_install(without_ggml, tmp_path):
    run, config = run_wide(tmp_path)
    with pytest.raises(UserError) as raised:
        check_gguf(run, config.run, config)
    (problem,) = raised.value.problems
    for part in ("q4_k_m", "pip install xllamacpp", "llama-quantize", "q8_0"):
        assert part in problem


@pytest.mark.skipif(os.name == "nt", reason="the program is a script with a first line")
def test_llama_quantize_is_given_a_bf16_file_that_is_gone_afterwards(without_ggml, tmp_path):
    log = put_program(without_ggml)
    run, config = run_wide(tmp_path)
    out = tmp_path / "out"
    out.mkdir()
    check_gguf(run, config.run, config)
    write_gguf(run, out, config)
    assert [path.name for path in out.iterdir()] == ["base.q4_k_m.gguf"]
    source, target, kind = json.loads(log.read_text(encoding="utf-8"))
    assert (target, kind) == (str(out / "base.q4_k_m.gguf"), "Q4_K_M")
    kinds = {tensor.tensor_type.name for tensor in GGUFReader(target).tensors}
    assert kinds == {"BF16", "F32"} and not os.path.exists(source)


@pytest.mark.skipif(os.name == "nt", reason="the program is a script with a first line")
def test_what_llama_quantize_says_when_it_fails_is_said(without_ggml, tmp_path):
    put_program(without_ggml, fails="sys.exit('no room for it')\n")
    run, config = run_wide(tmp_path)
    with pytest.raises(Failure, match=r"Q4_K_M failed \(1\): no room for it"):
        write_gguf(run, tmp_path, config)
    assert not list(tmp_path.glob("*.gguf"))


def test_llama_quantize_is_found_in_the_llama_cpp_of_unsloth(without_ggml, monkeypatch, tmp_path):
    assert quantize.program() is None
    monkeypatch.setenv("UNSLOTH_LLAMA_CPP_PATH", str(tmp_path / "llama.cpp"))
    bin = tmp_path / "llama.cpp" / "build" / "bin"
    bin.parent.mkdir(parents=True)
    put_program(bin)
    assert quantize.program() == str(bin / "llama-quantize")


def tensors_of(path):
    return {one.name: (one.tensor_type, one.data.tobytes()) for one in GGUFReader(path).tensors}


@pytest.mark.skipif(not importlib.util.find_spec("llama_cpp"), reason="needs llama-cpp-python")
@pytest.mark.parametrize("name", quantize.K_QUANTS)
def test_llama_cpp_python_gives_the_bytes_of_xllamacpp(name, monkeypatch, tmp_path):
    folder, run, _ = random_run(tmp_path, "Llama", KINDS["llama3"](), num_hidden_layers=9, **WIDE)
    found = {}
    for package, other in (("llama_cpp", "xllamacpp"), ("xllamacpp", "llama_cpp")):
        monkeypatch.setitem(sys.modules, other, None)
        quantize.ggml.cache_clear()
        (tmp_path / package).mkdir()
        write_gguf(run, tmp_path / package, ExportConfig(run=folder, gguf=(name,)))
        found[package] = tmp_path / package / f"base.{name}.gguf"
        monkeypatch.delitem(sys.modules, other)
    quantize.ggml.cache_clear()
    assert tensors_of(found["llama_cpp"]) == tensors_of(found["xllamacpp"])
