"""A merge beside a durable copy of its base and beside its peers, in one run: seconds and memory.

`python benchmarks/merge.py [--rounds 5] [--folder DIR]` makes a random bf16 checkpoint with the
shapes of Llama-3.2-1B (2.47 GB, tied embeddings, two shards) and a LoRA adapter of rank 16 on all
seven projections in a new folder, which it deletes, and prints the table of benchmarks/README.md.
Every contestant is a process of its own; peak memory is that process's, imports included.
"""

import argparse
import importlib.util
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[1]
HIDDEN, INNER, VOCABULARY, LAYERS, KEYS, RANK = 2048, 8192, 128256, 16, 512, 16
PROJECTIONS = {
    "self_attn.q_proj": (HIDDEN, HIDDEN),
    "self_attn.k_proj": (KEYS, HIDDEN),
    "self_attn.v_proj": (KEYS, HIDDEN),
    "self_attn.o_proj": (HIDDEN, HIDDEN),
    "mlp.gate_proj": (INNER, HIDDEN),
    "mlp.up_proj": (INNER, HIDDEN),
    "mlp.down_proj": (HIDDEN, INNER),
}
COPY = """
import os, shutil, sys
from pathlib import Path
base, _, target = map(Path, sys.argv[1:])
for file in sorted(base.glob("*.safetensors")):
    with open(file, "rb") as read, open(target / file.name, "wb", buffering=0) as write:
        shutil.copyfileobj(read, write, 2**23)
        os.fsync(write.fileno())
"""
OURS = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from threetoe.merge import merge
merge(*map(Path, sys.argv[1:]))
"""
PEFT = """
import sys, torch
from peft import PeftModel
from transformers import AutoModelForCausalLM
base, adapter, target = sys.argv[1:]
model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
PeftModel.from_pretrained(model, adapter).merge_and_unload().save_pretrained(target)
"""
UNSLOTH = """
import sys
from unsloth import FastLanguageModel
base, adapter, target = sys.argv[1:]
model, tokenizer = FastLanguageModel.from_pretrained(adapter, load_in_4bit=False)
model.save_pretrained_merged(target, tokenizer, save_method="merged_16bit")
"""


def contestants() -> dict[str, str]:
    """Program texts by name, ours and those peers that are installed."""
    found = {"durable copy": COPY, "Threetoe": OURS.format(root=str(ROOT)), "PEFT": PEFT}
    if importlib.util.find_spec("unsloth"):
        found["Unsloth"] = UNSLOTH
    return found


def write_base(folder: Path) -> None:
    import torch
    from safetensors.torch import save_file
    from transformers import AutoTokenizer, LlamaConfig

    torch.manual_seed(0)
    half = LAYERS // 2
    shards = [{"model.embed_tokens.weight": random(VOCABULARY, HIDDEN)}, {}]
    for layer in range(LAYERS):
        shard, name = shards[layer // half], f"model.layers.{layer}."
        shard |= {f"{name}{part}.weight": random(*shape) for part, shape in PROJECTIONS.items()}
        for norm in ("input_layernorm", "post_attention_layernorm"):
            shard[f"{name}{norm}.weight"] = torch.ones(HIDDEN).bfloat16()
    shards[1]["model.norm.weight"] = torch.ones(HIDDEN).bfloat16()
    places = {}
    for number, shard in enumerate(shards, 1):
        file = f"model-{number:05}-of-00002.safetensors"
        save_file(shard, folder / file, metadata={"format": "pt"})
        places |= dict.fromkeys(shard, file)
    index = {"metadata": {}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=HIDDEN, intermediate_size=INNER,
        num_hidden_layers=LAYERS, num_attention_heads=32, num_key_value_heads=8, head_dim=64,
        tie_word_embeddings=True, architectures=["LlamaForCausalLM"], dtype="bfloat16",
    ).save_pretrained(folder)  # fmt: skip
    AutoTokenizer.from_pretrained(ROOT / "models" / "tiny").save_pretrained(folder)


def random(*shape: int):
    import torch

    return torch.randn(shape, dtype=torch.bfloat16).mul_(0.02)


def write_adapter(base: Path, folder: Path) -> None:
    import torch
    from peft import LoraConfig
    from safetensors.torch import save_file

    tensors = {}
    for layer in range(LAYERS):
        for part, (out, into) in PROJECTIONS.items():
            name = f"base_model.model.model.layers.{layer}.{part}."
            tensors[name + "lora_A.weight"] = torch.randn(RANK, into) * 0.02
            tensors[name + "lora_B.weight"] = torch.randn(out, RANK) * 0.02
    save_file(tensors, folder / "adapter_model.safetensors")
    LoraConfig(
        r=RANK, lora_alpha=32, base_model_name_or_path=str(base), task_type="CAUSAL_LM",
        target_modules=[name.rpartition(".")[2] for name in PROJECTIONS],
    ).save_pretrained(folder)  # fmt: skip


def measure(program: str, base: Path, adapter: Path, root: Path) -> tuple[float, float]:
    """Seconds and peak MB of one process that writes its result into a new folder."""
    target = root / "out"
    target.mkdir()
    code = program + (
        "\nimport resource\n"
        "print('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)\n"
    )
    start = time.perf_counter()
    command = [sys.executable, "-c", code, base, adapter, target]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, encoding="utf-8")
    seconds = time.perf_counter() - start
    written = sum(file.stat().st_size for file in target.glob("*.safetensors"))
    shutil.rmtree(target)
    if done.returncode or written < 2.4e9:
        raise RuntimeError(f"{written} bytes written: {done.stderr[-400:]}")
    return seconds, float(done.stdout.rpartition("peak")[2])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where the checkpoint is made and deleted")
    parser.add_argument("--only", nargs="*", help="some of the contestants")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
        root = Path(scratch)
        base, adapter = root / "base", root / "adapter"
        base.mkdir(), adapter.mkdir()
        write_base(base), write_adapter(base, adapter)
        programs = contestants()
        if options.only:
            programs = {name: programs[name] for name in options.only}
        found, failed = {name: [] for name in programs}, {}
        for _ in range(options.rounds):
            for name in programs.keys() - failed.keys():
                try:
                    found[name].append(measure(programs[name], base, adapter, root))
                except RuntimeError as error:
                    failed[name] = str(error)
    report({name: rounds for name, rounds in found.items() if rounds})
    for name, error in failed.items():
        print(f"{name}: did not run: {error}")


def report(found: dict[str, list[tuple[float, float]]]) -> None:
    first = [seconds for seconds, _ in next(iter(found.values()))]
    print("| | s | lowest and highest | beside the copy | peak MB |\n|---|---|---|---|---|")
    for name, rounds in found.items():
        seconds = [second for second, _ in rounds]
        ratio = statistics.median(mine / copy for mine, copy in zip(seconds, first, strict=False))
        peak = max(mb for _, mb in rounds)
        spread = f"{min(seconds):.1f} to {max(seconds):.1f}"
        print(
            f"| {name} | {statistics.median(seconds):.1f} | {spread} | {ratio:.2f} | {peak:.0f} |"
        )
    print(", ".join(f"{name} {version(name)}" for name in ("torch", "peft", "transformers")))


if __name__ == "__main__":
    main()
