"""How much disk and memory an export takes, and how much there is."""

import math
import re
import shutil
from pathlib import Path

from threetoe.shard_layout import BITS
from threetoe.shards import FLOATS, Stored

# Bits a weight of llama.cpp's types, scales included: github.com/ggml-org/llama.cpp, quantize.cpp.
GGUF_BITS = {
    "f32": 32, "f16": 16, "bf16": 16, "q8_0": 8.5, "q6_k": 6.57, "q5_k_m": 5.7, "q5_k_s": 5.57,
    "q5_1": 6, "q5_0": 5.5, "q4_k_m": 4.9, "q4_k_s": 4.67, "q4_1": 5, "q4_0": 4.5,
    "q3_k_l": 4.43, "q3_k_m": 4.0, "q3_k_s": 3.64, "q2_k": 3.35,
}  # fmt: skip
NF4_BITS = 4.13  # with double-quantised scales of 64 numbers (arxiv.org/abs/2305.14314)
KEPT_WHOLE = re.compile(r"(embed_tokens|lm_head|wte|word_embeddings)\.weight$")
BLOCK = re.compile(r"\.(?:layers|h|blocks)\.(\d+)\.")
SLACK, BESIDES = 1.01, 20 * 10**6  # headers and rounding; tokenizer, card, record (bytes)
MERGE_MEMORY = 400 * 10**6  # peak of a streaming merge, torch included
VERIFY_MEMORY = 700 * 10**6  # of the comparison, without the weights it holds


def numbers_in(tensor: Stored) -> int:
    """How many weights a tensor has; NF4 keeps two in a byte."""
    return tensor.count * 2 if tensor.dtype == "U8" else tensor.count


def merged_bytes(tensors: list[Stored], dtype: str | None) -> int:
    """The size of a merged checkpoint; `dtype` None keeps each tensor's own, and 16 bits for
    those that are quantised."""
    codes = {name: code for code, name in FLOATS.items()}
    bits = (BITS[codes[dtype]] if dtype else BITS.get(tensor.dtype, 16) for tensor in tensors)
    return sum(numbers_in(t) * b // 8 for t, b in zip(tensors, bits, strict=True))


def nf4_bytes(tensors: list[Stored]) -> int:
    return sum(
        int(numbers_in(t) * (NF4_BITS if is_matrix(t) and not KEPT_WHOLE.search(t.name) else 16))
        for t in tensors
    ) // 8  # fmt: skip


def gguf_bytes(tensors: list[Stored], kind: str) -> int:
    """The size of a GGUF file; K-quants are made from a 16-bit file that lies beside them."""
    kind = kind.lower()
    bits = GGUF_BITS.get(kind, 16) + (16 if "_k" in kind else 0)
    return sum(int(numbers_in(t) * (bits if is_matrix(t) else 32)) for t in tensors) // 8


def is_matrix(tensor: Stored) -> bool:
    return len(tensor.shape) > 1


def verify_bytes(tensors: list[Stored]) -> int:
    """Memory of a comparison layer by layer: the largest layer of both models in fp32."""
    blocks: dict[str, int] = {}
    rest = 0
    for tensor in tensors:
        found = BLOCK.search(tensor.name)
        if found:
            blocks[found[1]] = blocks.get(found[1], 0) + 4 * numbers_in(tensor)
        else:
            rest = max(rest, 2 * numbers_in(tensor))
    return VERIFY_MEMORY + 2 * max([rest, *blocks.values()])


def place_of(path: Path) -> Path:
    """The path, or the folder above it that exists."""
    path = path.expanduser().absolute()
    while not path.exists():
        path = path.parent
    return path


def bytes_in(folder: Path) -> int:
    """What a folder holds already; 0 when there is none."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def disk_problems(wanted: list[tuple[str, Path, int, str]]) -> list[str]:
    """A line for each file system without the room for what goes there.

    `wanted` has what it is (--merged /x), where, its bytes, and what mends it.
    """
    disks: dict[int, list] = {}
    for entry in wanted:
        disks.setdefault(place_of(entry[1]).stat().st_dev, []).append(entry)
    problems = []
    for entries in disks.values():
        place, needed = place_of(entries[0][1]), sum(entry[2] for entry in entries)
        free = shutil.disk_usage(place).free
        if needed <= free:
            continue
        whats = [entry[0] for entry in entries]
        if len(entries) > 1:
            whats = [f"{entry[0]} ({shown(entry[2])})" for entry in entries]
        problems.append(
            f"{' and '.join(whats)} {'needs' if len(whats) == 1 else 'need'} {shown(needed)}, "
            f"{shown(free)} are free on {place}; {max(entries, key=lambda e: e[2])[3]}."
        )
    return problems


def available_memory(root: Path = Path("/")) -> int | None:
    """Bytes a process may still take: what the machine has left, swap included, or the tightest
    container around it (cgroup v2, then v1); None where the system does not say."""
    try:
        lines = (root / "proc/meminfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    stated = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if ":" in line}
    if "MemAvailable" not in stated:
        return None
    return min(stated["MemAvailable"] + stated.get("SwapFree", 0), container_room(root))


def container_room(root: Path) -> float:
    """What the limits of control groups leave; infinity without one. Page cache that can be
    dropped counts as free: docs.kernel.org/admin-guide/cgroup-v2.html."""
    top = root / "sys/fs/cgroup"
    groups = [(top / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes")]
    group = top / own_group(root).lstrip("/")
    while group.is_relative_to(top):
        groups.append((group, "memory.max", "memory.current"))
        group = group.parent
    room = math.inf
    for folder, limit, used in groups:
        try:
            most, taken = ((folder / name).read_text("utf-8").strip() for name in (limit, used))
            stat = dict(map(str.split, (folder / "memory.stat").read_text("utf-8").splitlines()))
        except OSError:
            continue
        if most.isdigit():
            room = min(room, int(most) - int(taken) + int(stat.get("inactive_file", 0)))
    return room


def own_group(root: Path) -> str:
    """The path of this process's group in cgroup v2, '' where there is none."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line[3:] for line in lines if line.startswith("0::")), "")


def shown(size: float) -> str:
    """16.1 GB, 310 MB"""
    return f"{size / 1e9:.1f} GB" if size >= 10**9 else f"{math.ceil(size / 1e6)} MB"
