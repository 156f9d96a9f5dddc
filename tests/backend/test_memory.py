"""What a training takes is known before anything is loaded, and is what it takes."""

import json
import math
import os
import re
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
from conftest import ROOT, TINY, run_script

from threetoe.backend.checkpoint import Stored, header_bytes
from threetoe.backend.memory import need
from threetoe.backend.sizes import Linear, linears_of, linears_of_llama
from threetoe.options.train import TrainConfig
from threetoe.prompt.new_tokens import TokenRows

LLAMA3_8B = SimpleNamespace(
    hidden_size=4096, intermediate_size=14336, num_hidden_layers=32, num_attention_heads=32,
    num_key_value_heads=8, vocab_size=128256, tie_word_embeddings=False,
)  # fmt: skip
QLORA = TrainConfig(model="llama", load_in_4bit=True, lora_r=32)
# GB of a GPU: tokens of the longest row that Unsloth has trained on it, Llama 3.1 8B, rank 32, one
# row at a time (unsloth.ai/docs/basics/unsloth-benchmarks, read in November 2026).
PUBLISHED = {8: 2972, 12: 21848, 16: 40724, 24: 78475, 40: 153977, 48: 191728, 80: 342733}


def of_llama3(config=QLORA, sizes=LLAMA3_8B):
    return need(config, sizes, linears_of_llama(sizes), on_gpu=True)


def test_the_estimate_of_an_8b_base_is_what_unsloth_has_published():
    for gigabytes, length in PUBLISHED.items():
        peak = of_llama3().peak(1, length) / 2**30
        assert 0.92 * gigabytes < peak <= gigabytes, (gigabytes, peak)


def test_each_term_follows_from_what_is_asked():
    plain = of_llama3()
    assert plain.weights == pytest.approx(6_979_321_856 * 0.515875 + 2 * 128256 * 4096 * 2)
    assert plain.adapter == pytest.approx(83_886_080 * (8 + 2 + 8 / 256))
    assert of_llama3(replace(QLORA, lora_r=16)).adapter == plain.adapter / 2
    full = of_llama3(replace(QLORA, optim="adamw_torch"))
    assert full.adapter == 83_886_080 * 16
    assert of_llama3(replace(QLORA, load_in_4bit=False)).weights == 2 * (6_979_321_856 + 1050673152)
    rows = TokenRows(trained=(128256,), fresh=(128256,), held=128256, total=128264)
    assert of_llama3(replace(QLORA, token_rows=rows)).tokens == 4 * 128264 * 4096 * 2
    kept = [
        of_llama3(replace(QLORA, use_gradient_checkpointing=way)).batch(4, 2048)
        for way in ("unsloth", "true", "false")
    ]
    assert kept[0] < kept[1] < kept[2]


def test_a_stored_base_keeps_the_modules_that_its_repository_names():
    skipped = {"llm_int8_skip_modules": ["lm_head", "model.layers.1.mlp", "model.layers.31"]}
    dynamic = SimpleNamespace(**vars(LLAMA3_8B), quantization_config=skipped)
    mlp, attention = 3 * 4096 * 14336, 2 * 4096 * 4096 + 2 * 4096 * 1024
    more = of_llama3(sizes=dynamic).weights - of_llama3().weights
    assert more == pytest.approx((2 * mlp + attention) * (2 - 0.515875))


def test_matrices_of_other_families_are_read_off_their_modules(tmp_path):
    from transformers import Qwen2Config

    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 1}
    Qwen2Config(**sizes, num_attention_heads=4, num_key_value_heads=2).save_pretrained(tmp_path)
    found = linears_of(str(tmp_path))
    assert len(found) == 7 and Linear("model.layers.0.mlp.down_proj", 96, 64) in found
    assert linears_of("tiny")[0] == Linear("model.layers.0.self_attn.q_proj", 256, 256)


@pytest.fixture
def here(tmp_path):
    rows = [{"instruction": "Say it.", "output": "rain sun river stone bird " * 120}]
    rows += [{"instruction": "Say it.", "output": "rain"}] * 16
    (tmp_path / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
    return tmp_path


def look(folder, *words, code=0):
    fixed = ["--dry-run", "--dataset", "rows.json", "--max-seq-length", "512"]
    return run_script("train.py", *fixed, *words, cwd=folder, code=code).stderr


def test_a_training_takes_what_was_estimated(here):
    """By torch's own account of its allocations on the CPU, with checkpointing and without."""
    for words in ([], ["--use-gradient-checkpointing", "false"]):
        said = run_script(
            "train.py", "--dataset", "rows.json", "--max-seq-length", "512", "--max-steps", "2",
            "--plugin", ROOT / "benchmarks" / "memory.py", "--overwrite", *words, cwd=here,
        )  # fmt: skip
        error = int(re.search(r"\(([+-]\d+)%\)", said.stdout)[1])
        assert -5 <= error <= 25, said.stdout


def test_what_a_training_will_take_is_said_beside_what_is_free(here):
    (line,) = [one for one in look(here).splitlines() if one.startswith("memory: ")]
    assert re.fullmatch(
        r"memory: about \d+ MB \(base 7 MB, adapter and optimizer 5 MB, 4 x 512 tokens \d+ MB\), "
        r"[\d.]+ [GM]B free", line
    )  # fmt: skip
    assert "4 x 512" in look(here, "--batching-strategy", "packing")


def wide_base(folder):
    """The embedded model's tokenizer with the shape of a model of 250B, whose file is a hole."""
    base = shutil.copytree(TINY, folder / "base")
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    config |= {"hidden_size": 16384, "intermediate_size": 53248, "num_hidden_layers": 80}
    (base / "config.json").write_text(json.dumps(config), encoding="utf-8")
    shapes = {f"{one.name}.weight": (one.outputs, one.inputs) for one in linears_of(str(base))}
    shapes["model.embed_tokens.weight"] = (config["vocab_size"], config["hidden_size"])
    tensors, end, file = [], 0, base / "model.safetensors"
    for name, shape in shapes.items():
        tensors.append(Stored(name, "BF16", shape, file, end, 2 * math.prod(shape)))
        end += tensors[-1].size
    head = header_bytes(tensors)
    file.write_bytes(head)
    os.truncate(file, len(head) + end)


def test_a_base_that_cannot_fit_is_refused_before_it_is_loaded(here):
    wide_base(here)
    said = look(here, "--model", "base", "--no-load-in-4bit", code=2)
    assert re.search(
        r"base takes about [\d.]+ GB \(base [\d.]+ GB, .* of memory with one row", said
    )
    assert said.strip().endswith("are free: --load-in-4bit or a smaller --model takes less.")


def test_the_nearest_batch_and_length_that_fit_are_named():
    """On a card with 15.6 GB free, and on one where not even one row fits."""
    taken = of_llama3(replace(QLORA, lora_r=16))
    assert taken.peak(4, 2048) < 15.6e9  # the default on a T4
    assert taken.most_rows(2048, 15.6e9, step=64) == 16
    assert taken.most_rows(2048, 15.6e9, step=12) == 4  # the step stays what it is
    assert taken.longest_row(8192, 9e9) == 7104 and taken.peak(1, 7104 + 64) > 9e9
    assert taken.most_rows(2048, 6e9, step=16) == taken.longest_row(8192, 6e9) == 0


def test_auto_takes_as_many_rows_as_fit_and_the_step_stays(here):
    auto = ["--per-device-train-batch-size", "auto"]
    said = look(here, *auto, "--gradient-accumulation-steps", "3")
    assert "4 of a step's 12 rows at a time" in said
    assert "60 steps of 12 rows" in said


STOP = """
import os, signal

def register_callbacks():
    from transformers import TrainerCallback

    class Stop(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 2:
                os.kill(os.getpid(), signal.SIGTERM)

    return {"stop": Stop()}
"""


def test_a_training_that_continues_keeps_its_batch_where_more_would_fit(here):
    (here / "stop.py").write_text(STOP, encoding="utf-8")
    fixed = ["--dataset", "rows.json", "--max-seq-length", "64", "--output-dir", "run"]
    fixed += ["--max-steps", 4, "--plugin", "stop.py"]
    by_hand = ["--per-device-train-batch-size", 2, "--gradient-accumulation-steps", 8]
    run_script("train.py", *fixed, *by_hand, cwd=here, code=143)
    again = [*fixed, "--per-device-train-batch-size", "auto"]
    said = run_script("train.py", *again, cwd=here).stderr
    assert "2 of a step's 16 rows at a time" in said
    assert "continuing run from step 2" in said
    options = json.loads((here / "run" / "run.json").read_text(encoding="utf-8"))["options"]
    assert options["per_device_train_batch_size"] == 2
    assert options["gradient_accumulation_steps"] == 8
