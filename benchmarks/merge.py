"""A merge beside a durable copy of its base and beside its peers, in one run: seconds and memory.

`python benchmarks/merge.py [--rounds 5] [--folder DIR]` makes a random bf16 checkpoint with the
shapes of Llama-3.2-1B (2.47 GB, tied embeddings, two shards) and a LoRA adapter of rank 16 on all
seven projections in a new folder, which it deletes, and prints the table of benchmarks/README.md.
Every contestant is a process of its own; peak memory is that process's, imports included.
"""

import argparse
import json
import multiprocessing
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

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
START = "# what follows is timed\n"
COPY = f"""
import os, shutil, sys
from pathlib import Path
{START}
base, _, target = map(Path, sys.argv[1:])
for file in sorted(base.glob("*.safetensors")):
    with open(file, "rb") as read, open(target / file.name, "wb", buffering=0) as write:
        shutil.copyfileobj(read, write, 2**23)
        os.fsync(write.fileno())
"""
DIRECT = f"""
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
sys.path.insert(0, {str(ROOT)!r})
from threetoe.export.merge.writer import new_shard
{START}
base, _, target = map(Path, sys.argv[1:])
with ThreadPoolExecutor(1) as thread:
    for file in sorted(base.glob("*.safetensors")):
        room = memoryview(bytearray(2**20))
        new = new_shard(target / file.name, 96, thread)
        with open(file, "rb", buffering=0) as read, new as shard:
            while count := read.readinto(room):
                shard.write(room[:count])
"""
OURS = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(ROOT)!r})
import torch
from threetoe.export.merge.merge import merge
from threetoe.export.merge.options import MergeOptions
{START}
merge(*map(Path, sys.argv[1:]), MergeOptions(rounding="ROUNDING"))
"""
PEFT = f"""
import os, sys, torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, LlamaForCausalLM
{START}
base, adapter, target = sys.argv[1:]
model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
PeftModel.from_pretrained(model, adapter).merge_and_unload().save_pretrained(target)
"""
UNSLOTH = f"""
import os, sys
from unsloth import FastLanguageModel
{START}
base, adapter, target = sys.argv[1:]
model, tokenizer = FastLanguageModel.from_pretrained(adapter, load_in_4bit=False)
model.save_pretrained_merged(target, tokenizer, save_method="merged_16bit")
"""
SYNC = """
for name in os.listdir(target):
    if name.endswith(".safetensors"):
        with open(os.path.join(target, name), "rb") as file:
            os.fsync(file.fileno())
"""
PROGRAMS = {
    "durable copy": COPY,
    "durable copy, direct I/O": DIRECT,
    "Threetoe": OURS.replace("ROUNDING", "stochastic"),
    "Threetoe, to the nearest": OURS.replace("ROUNDING", "nearest"),
    "PEFT merge_and_unload": PEFT + SYNC,
    "Unsloth save_pretrained_merged": UNSLOTH + SYNC,
}


class Measured(NamedTuple):
    """Seconds without and with imports, and peak memory in MB, of one process."""

    seconds: float
    process: float
    peak: float


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


def measure(program: str, base: Path, adapter: Path, root: Path) -> Measured:
    """One process that writes its result into a new folder; RuntimeError when it does not."""
    target = root / "out"
    target.mkdir()
    code = program.replace(START, "import time; started = time.perf_counter()\n") + (
        "\nimport resource; seconds = time.perf_counter() - started\n"
        "print('measured', seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)\n"
    )
    start = time.perf_counter()
    command = [sys.executable, "-c", code, base, adapter, target]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, encoding="utf-8")
    process = time.perf_counter() - start
    written = sum(file.stat().st_size for file in target.glob("*.safetensors"))
    shutil.rmtree(target)
    if done.returncode or written < 2.4e9:
        raise RuntimeError(f"{written} bytes written: {done.stderr[-400:]}")
    seconds, peak = done.stdout.rpartition("measured")[2].split()
    return Measured(float(seconds), process, float(peak))


def compete(programs: dict, rounds: int, root: Path) -> tuple[dict, dict]:
    """What every program needed in each round, and why some did not run."""
    found, failed = {name: [] for name in programs}, {}
    for _ in range(rounds):
        for name in [name for name in programs if name not in failed]:
            try:
                found[name].append(measure(programs[name], root / "base", root / "adapter", root))
            except RuntimeError as error:
                failed[name] = str(error)
    return {name: rounds for name, rounds in found.items() if rounds}, failed


def report(found: dict[str, list[Measured]]) -> None:
    copies = next(iter(found.values()))
    print("| | s | lowest and highest | beside the copy | with imports, s | peak MB |")
    print("|---|---|---|---|---|---|")
    for name, rounds in found.items():
        seconds = [one.seconds for one in rounds]
        ratios = [one.seconds / copy.seconds for one, copy in zip(rounds, copies, strict=False)]
        cells = [
            name,
            f"{statistics.median(seconds):.1f}",
            f"{min(seconds):.1f} to {max(seconds):.1f}",
            f"{statistics.median(ratios):.2f}",
            f"{statistics.median(one.process for one in rounds):.1f}",
            f"{max(one.peak for one in rounds):.0f}",
        ]
        print(f"| {' | '.join(cells)} |")
    packages = ("torch", "peft", "transformers", "unsloth")
    print(", ".join(f"{name} {version(name)}" for name in packages))


def make(root: Path) -> None:
    """Writes base and adapter, in a process of its own: a child's peak begins at its parent's."""
    base, adapter = root / "base", root / "adapter"
    base.mkdir()
    adapter.mkdir()
    write_base(base)
    write_adapter(base, adapter)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where the checkpoint is made and deleted")
    parser.add_argument("--only", nargs="*", default=list(PROGRAMS), help="some contestants")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
        maker = multiprocessing.get_context("spawn").Process(target=make, args=(Path(scratch),))
        maker.start()
        maker.join()
        programs = {name: PROGRAMS[name] for name in options.only}
        found, failed = compete(programs, options.rounds, Path(scratch))
    report(found)
    for name, error in failed.items():
        print(f"{name}: did not run: {error}")


if __name__ == "__main__":
    main()
