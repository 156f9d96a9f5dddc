"""The types of a GGUF file: which type each tensor gets, and numbers rounded to it.

The rules of K-quants are those of llama.cpp's llama-quant.cpp, for models without experts. Their
numbers come from llama.cpp's own ggml_quantize_chunk, out of an installed package that brings it,
or from an installed llama-quantize; all other types from the gguf package.
"""

import ctypes
import functools
import importlib.util
import math
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from threetoe.errors import Failure, UserError, unknown

PLAIN = ("f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0")
K_QUANTS = (
    "q6_k", "q5_k_m", "q5_k_s", "q4_k_m", "q4_k_s", "q3_k_l", "q3_k_m", "q3_k_s", "q2_k",
)  # fmt: skip
# Packages of which a wheel holds llama.cpp's ggml, and where.
LIBRARIES = {"xllamacpp": "xllamacpp*.so", "llama_cpp": "lib/*ggml-base*"}
PROGRAM = "llama-quantize"
# Where rows do not divide into blocks of 256 numbers, llama.cpp takes these.
WITHOUT_256 = {"Q2_K": "Q4_0", "Q3_K": "Q4_0", "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}


def check_types(types) -> None:
    """UserError for a type that is not known, or that nothing installed can make."""
    for name in types:
        if name not in PLAIN + K_QUANTS:
            raise unknown("GGUF type", name, PLAIN + K_QUANTS)
    if importlib.util.find_spec("gguf") is None:
        raise UserError("--gguf needs the gguf package: pip install gguf.")
    asked = [name for name in types if name in K_QUANTS]
    if asked and ggml() is None and program() is None:
        raise UserError(
            f"--gguf {asked[0]} needs llama.cpp's own quantizer: pip install xllamacpp, or put "
            f"llama.cpp's {PROGRAM} on the PATH; q8_0, q5_1, q5_0, q4_1 and q4_0 need nothing."
        )


def program() -> str | None:
    """llama-quantize on the PATH, or where Unsloth keeps its llama.cpp."""
    stated = os.environ.get("UNSLOTH_LLAMA_CPP_PATH")
    folder = Path(stated) if stated else Path.home() / ".unsloth" / "llama.cpp"
    built = [folder, folder / "build" / "bin", folder / "build" / "bin" / "Release"]
    return shutil.which(PROGRAM) or shutil.which(PROGRAM, path=os.pathsep.join(map(str, built)))


def file_type(name: str) -> int:
    """The number that stands for a type in general.file_type."""
    from gguf import LlamaFileType

    return int(LlamaFileType["ALL_F32" if name == "f32" else f"MOSTLY_{name.upper()}"])


def type_of(tensor: str, shape: tuple, name: str, layers: int, tied: bool, group: int) -> str:
    """The type (F32, Q4_K, ...) of a tensor in a file of type `name`; `tied`: the model has no
    output.weight; `group`: query heads of one key head."""
    if len(shape) < 2 or tensor.endswith("_norm.weight"):
        return "F32"
    if name in ("f32", "f16", "bf16"):
        return name.upper()
    output = tensor == "output.weight" or tied and tensor == "token_embd.weight"
    if name in PLAIN:
        # llama.cpp has Q6_K here, which the gguf package cannot make; Q8_0 is its next better.
        found = "Q8_0" if output else name.upper()
    else:
        found = "Q6_K" if output else k_quant(tensor, name, layers, group)
    if shape[-1] % 256 and found in WITHOUT_256:
        found = "Q8_0" if output else WITHOUT_256[found]
    return "F16" if shape[-1] % 32 else found


def k_quant(tensor: str, name: str, layers: int, group: int) -> str:
    """The type of one of the matrices in a block: some get more bits."""
    kind = tensor.split(".")[-2]
    layer = int(tensor.split(".")[1]) if tensor.startswith("blk.") else 0
    own, eighth = name[:4].upper(), layers // 8
    more = layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2
    better = {
        "attn_v": {
            "q2_k": "Q4_K" if group >= 4 else "Q3_K",
            "q3_k_m": "Q5_K" if layer < 2 else "Q4_K",
            "q3_k_l": "Q5_K",
            "q4_k_s": "Q5_K" if layer < 4 else own,
            "q4_k_m": "Q6_K" if more else own,
            "q5_k_m": "Q6_K" if more else own,
        },
        "ffn_down": {
            "q2_k": "Q3_K",
            "q3_k_m": "Q5_K" if layer < layers // 16 else "Q4_K",
            "q3_k_l": "Q5_K",
            "q4_k_s": "Q5_K" if layer < eighth else own,
            "q4_k_m": "Q6_K" if more else own,
            "q5_k_m": "Q6_K" if more else own,
        },
        "attn_output": {"q2_k": "Q3_K", "q3_k_m": "Q4_K", "q3_k_l": "Q5_K"},
    }
    found = better.get(kind, {}).get(name, own)
    is_70b = layers == 80 and group > 1 and kind == "attn_v"
    return "Q5_K" if is_70b and found in ("Q3_K", "Q4_K") else found


def size_in_bytes(shape: tuple, kind: str) -> int:
    """What a tensor takes in a file."""
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    numbers, size = GGML_QUANT_SIZES[GGMLQuantizationType[kind]]
    return math.prod(shape) // numbers * size


def rounded(numbers, kind: str):
    """A flat array of fp32, whole blocks of it, as the bytes of a type."""
    import numpy as np
    from gguf import GGMLQuantizationType, quants

    if kind.endswith("_K"):
        return quantized_by_ggml(numbers, kind)
    # As wide rows as there are: the package works on 16 of them at a time.
    width = next(w for w in (8192, 1024, 256, 32, 1) if numbers.size % w == 0)
    blocks = quants.quantize(numbers.reshape(-1, width), GGMLQuantizationType[kind])
    return blocks.view(np.uint8).ravel()


def on_q8_steps(rows, noise):
    """Rows of fp32, each number moved by chance to one of q8_0's two steps beside it, in
    proportion, so that quantising finds that step; `noise` has 16 bits."""
    blocks = rows.view(-1, 32)
    steps = blocks.abs().amax(1, keepdim=True).div_(127).clamp_(min=1e-38)
    moved = (blocks / steps).add_(noise.view(-1, 32) / 2**16).floor_().clamp_(-127, 127)
    return moved.mul_(steps).view_as(rows)


def quantized_by_ggml(numbers, kind: str):
    """One block depends on no other, so every core takes a part of them."""
    import numpy as np
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    code = GGMLQuantizationType[kind]
    count, size = GGML_QUANT_SIZES[code]
    source = np.ascontiguousarray(numbers, dtype=np.float32).reshape(-1, count)
    out = np.empty((len(source), size), dtype=np.uint8)

    def work(here: slice) -> None:  # ctypes lets other threads run meanwhile
        part, room = source[here], out[here]
        ggml()(code, part.ctypes.data, room.ctypes.data, 0, 1, part.size, None)

    step = max(1, -(-len(source) // (os.cpu_count() or 1)))
    list(workers().map(work, [slice(n, n + step) for n in range(0, len(source), step)]))
    return out.ravel()


@functools.cache
def workers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count())


@functools.cache
def ggml():
    """llama.cpp's ggml_quantize_chunk(type, from, to, first, rows, columns, importance), or None
    when no installed package brings it."""
    for package, pattern in LIBRARIES.items():
        found = importlib.util.find_spec(package)
        folder = Path(found.origin).parent if found and found.origin else None
        for file in sorted(folder.glob(pattern)) if folder else ():
            with suppress(OSError, AttributeError):  # of another processor, or without the function
                function = ctypes.CDLL(str(file)).ggml_quantize_chunk
                function.restype = ctypes.c_size_t
                places, counts = [ctypes.c_void_p] * 2, [ctypes.c_int64] * 3
                function.argtypes = [ctypes.c_int, *places, *counts, ctypes.c_void_p]
                return function
    return None


def run_program(source: Path, target: Path, name: str) -> None:
    """Quantise a GGUF file with llama.cpp's program; Failure with its last line when it fails."""
    done = subprocess.run(
        [program(), source, target, name.upper()],
        capture_output=True, text=True, encoding="utf-8", errors="replace",
    )  # fmt: skip
    if done.returncode or not target.is_file():
        last = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["it said nothing"]
        raise Failure(f"{PROGRAM} {name.upper()} failed ({done.returncode}): {last[0]}")
