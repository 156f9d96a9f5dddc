"""GGUF files of random models of every kind: llama.cpp computes what transformers does."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import ROOT
from forked import run_python
from gguf import GGUFReader
from gguf_run import Server, random_run
from safetensors.torch import load_file, save_file
from tokenizers_made import KINDS

from threetoe.errors import UserError
from threetoe.export.gguf.gguf import check_gguf, write_gguf
from threetoe.export.merge.exporters import write_merged
from threetoe.options.export import ExportConfig

WRONG = 0.02  # of a log-probability; llama.cpp keeps keys and values in f16, which moves 0.004
LONG = 300  # tokens of the prompt, so that the places matter


def rope(kind, **settings):
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 10000.0, **settings}}


LLAMA3 = rope(
    "llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
    original_max_position_embeddings=64,
)  # fmt: skip
CASES = {
    "llama": ("Llama", {}),
    "tied": ("Llama", {"tie_word_embeddings": True}),
    "tied, and split by training": (
        "Llama", {"tie_word_embeddings": True, "trained": ["embed_tokens", "k_proj"]},
    ),
    "as many key heads as heads": ("Llama", {"num_key_value_heads": 4}),
    "biases": ("Llama", {"attention_bias": True, "mlp_bias": True}),
    "wide heads": ("Llama", {"head_dim": 64}),
    "padded vocabulary": ("Llama", {"vocab_size": 700}),
    "llama3 rope": ("Llama", LLAMA3),
    "linear rope": ("Llama", rope("linear", factor=4.0)),
    "yarn": ("Llama", rope("yarn", factor=4.0, original_max_position_embeddings=128)),
    "mistral": ("Mistral", {"sliding_window": None}),
    "qwen2": ("Qwen2", {}),
    "qwen2, tied": ("Qwen2", {"tie_word_embeddings": True}),
    "qwen3": ("Qwen3", {"head_dim": 32}),
}  # fmt: skip


def write(root, folder, run, *types):
    root.mkdir(exist_ok=True)
    config = ExportConfig(run=folder, gguf=types)
    check_gguf(run, folder, config)
    write_gguf(run, root, config)
    return [root / f"base.{name}.gguf" for name in types]


@pytest.mark.parametrize("case", CASES)
def test_llama_cpp_computes_what_transformers_does(case, tmp_path):
    kind, settings = CASES[case]
    tokenizer = KINDS["llama3"]()
    folder, run, model = random_run(tmp_path, kind, tokenizer, **settings)
    exact, q8_0 = write(tmp_path / "out", folder, run, "f32", "q8_0")
    ids = np.random.default_rng(0).integers(0, len(tokenizer), LONG).tolist()
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0, -1]
    ours = torch.log_softmax(logits, -1).numpy()
    taken = tokenizer.convert_tokens_to_ids("a")
    theirs = Server(exact).log_probabilities(ids, len(ours), taken)
    assert ours.std() > 0.5 and not np.isnan(theirs).any()
    assert np.abs(theirs - ours).max() < WRONG
    near = Server(q8_0).log_probabilities(ids, len(ours), taken)
    assert 0 < np.abs(near - ours).max() < 0.5


def test_a_run_trained_in_4_bits_is_written_with_the_weights_it_was_trained_on(tmp_path):
    folder, run, _ = random_run(tmp_path, "Llama", KINDS["llama3"]())
    run.options["load_in_4bit"] = True
    found = {}
    for choice in ("dequantized", "16bit"):
        config = ExportConfig(run=folder, gguf=("f32",), base_weights=choice, dtype="float32")
        for write_one, place in ((write_gguf, "files"), (write_merged, "merged")):
            (tmp_path / choice / place).mkdir(parents=True)
            write_one(run, tmp_path / choice / place, config)
        (path,) = (tmp_path / choice / "files").glob("*.gguf")
        written = {tensor.name: tensor.data for tensor in GGUFReader(path).tensors}
        merged = load_file(tmp_path / choice / "merged" / "model.safetensors")
        found[choice] = written["blk.1.ffn_down.weight"]
        name = "model.layers.1.mlp.down_proj.weight"
        assert np.array_equal(found[choice], merged[name].numpy())
    assert not np.array_equal(found["dequantized"], found["16bit"])


def test_a_tied_file_has_no_output_tensor_and_an_untied_one_has(tmp_path):
    for name, tied in (("tied", True), ("untied", False)):
        (tmp_path / name).mkdir()
        folder, run, _ = random_run(
            tmp_path / name, "Llama", KINDS["llama3"](), tie_word_embeddings=tied
        )
        (path,) = write(tmp_path / name / "out", folder, run, "f16")
        names = {tensor.name for tensor in GGUFReader(path).tensors}
        assert ("output.weight" in names) is not tied


def refused(tmp_path, change, **config):
    """What check_gguf says of a run whose base's config.json has been changed."""
    folder, run, _ = random_run(tmp_path, "Llama", KINDS["llama3"]())
    path = tmp_path / "base" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(UserError) as raised:
        check_gguf(run, folder, ExportConfig(run=folder, **config))
    return raised.value.problems


def test_what_cannot_be_written_is_said_at_once_and_together(tmp_path):
    problems = refused(tmp_path, {"hidden_act": "gelu"}, gguf=("q4km",))
    assert len(problems) == 2
    assert "Did you mean 'q4_k_m'" in problems[0] and "q8_0" in problems[0]
    assert "gelu" in problems[1]


def test_a_rope_that_is_not_written_is_refused(tmp_path):
    longrope = rope("longrope", long_factor=[1.0], short_factor=[1.0])
    (problem,) = refused(tmp_path, longrope, gguf=("q8_0",))
    assert "longrope" in problem


def test_another_architecture_is_refused_with_the_way_there(tmp_path):
    (problem,) = refused(tmp_path, {"model_type": "gemma2"}, gguf=("q8_0",))
    assert problem == (
        "--gguf: gemma2 is not among what is written here (llama, mistral, qwen2, qwen3); write "
        "--merged DIR, and let llama.cpp's converter make the file: python convert_hf_to_gguf.py "
        "DIR --outfile FILE."
    )


def test_a_base_whose_own_jinja_ollama_cannot_say_gets_no_folder(tmp_path):
    folder, run, _ = random_run(tmp_path, "Llama", KINDS["llama3"]())
    run = replace(run, template={"description": "", "own": "{{ messages }}", "tokens": {}})
    with pytest.raises(UserError, match="--ollama: a Modelfile cannot say"):
        check_gguf(run, folder, ExportConfig(run=folder, ollama=tmp_path))


def test_a_weight_that_f16_cannot_hold_is_named(tmp_path):
    folder, run, model = random_run(tmp_path, "Llama", KINDS["llama3"]())
    base = model.unload()
    base.model.layers[1].mlp.up_proj.weight.data[3, 5] = 70000.0
    base.save_pretrained(tmp_path / "base")
    write(tmp_path / "out", folder, run, "bf16", "q8_0")
    with pytest.raises(UserError, match="up_proj.weight merges to inf or nan in float16"):
        write(tmp_path / "out", folder, run, "f16")


MEASURE = """
import sys, threading
from pathlib import Path
import gguf, numpy, psutil, torch, transformers, threetoe.export.gguf.gguf as made
from threetoe.backend import model as backend
from threetoe.machine import files as catalog
from threetoe.run import contract, record as runs
from threetoe.options.export import ExportConfig
from threetoe.prompt.template_file import read_template
folder = Path(sys.argv[1])
template = read_template(catalog.named_files("templates")["chatml"])
record = runs.foreign(None, str(folder / "base"), False)
tokenizer = backend.load_tokenizer(folder / "run")
record = contract.settled(folder / "run", record, template, tokenizer, None)
me, peak, ended = psutil.Process(), [0], threading.Event()
def watch():
    while not ended.wait(0.005):
        peak[0] = max(peak[0], me.memory_info().rss)
before = me.memory_info().rss
watcher = threading.Thread(target=watch)
watcher.start()
made.write_gguf(record, folder, ExportConfig(run=folder / "run", gguf=tuple(sys.argv[2:])))
ended.set()
watcher.join()
print(peak[0] - before)
"""


def large_base(folder, config):
    """Random weights of 300 MB in bf16, most of them in the embeddings."""
    width, wide, rows = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    shapes = {"model.embed_tokens": (rows, width), "lm_head": (rows, width), "model.norm": (width,)}
    for layer in range(config["num_hidden_layers"]):
        block = f"model.layers.{layer}"
        shapes |= {f"{block}.self_attn.{n}_proj": (width, width) for n in "qkvo"}
        shapes |= {f"{block}.mlp.{n}_proj": (wide, width) for n in ("gate", "up")}
        shapes |= {f"{block}.mlp.down_proj": (width, wide)}
        norms = ("input_layernorm", "post_attention_layernorm")
        shapes |= {f"{block}.{n}": (width,) for n in norms}
    tensors = {f"{n}.weight": torch.zeros(s, dtype=torch.bfloat16) for n, s in shapes.items()}
    for tensor in tensors.values():
        tensor += 0.01  # pages of their own
    save_file(tensors, folder / "model.safetensors")
    return sum(2 * tensor.numel() for tensor in tensors.values())


def test_memory_stays_flat_whatever_the_model_weighs(tmp_path):
    folder, _, _ = random_run(
        tmp_path, "Llama", KINDS["llama3"](), hidden_size=1024, intermediate_size=1024,
        num_key_value_heads=4, num_hidden_layers=1, vocab_size=64_000,
    )  # fmt: skip
    config = json.loads((tmp_path / "base" / "config.json").read_text())
    weighs = large_base(tmp_path / "base", {**config, "num_hidden_layers": 1})
    (tmp_path / "measure.py").write_text(MEASURE, encoding="utf-8")
    words = [tmp_path / "measure.py", tmp_path, "q8_0", "f16"]
    done = run_python(words, ROOT, os.environ | {"PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    above = int(done.stdout)
    print(f"{weighs / 1e6:.0f} MB of weights, {above / 1e6:.0f} MB above the imports")
    assert weighs > 250e6
    assert above < 100e6
