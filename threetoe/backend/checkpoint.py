"""What a folder with a safetensors checkpoint holds.

The format: 8 bytes with the header's length (little endian), a JSON header that gives every
tensor's dtype, shape and place, then the bytes (github.com/huggingface/safetensors#format).
Headers are read without torch, so that a whole checkpoint is checked in milliseconds.
"""

import json
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from threetoe.errors import UserError, reading
from threetoe.machine.records import MOST_BYTES, of_kind, parse_json, read_json

FLOATS = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}  # safetensors' name: torch's


class BaseConfig(TypedDict, total=False):
    """Of a base's config.json what is read here; each family has its own besides."""

    model_type: str
    hidden_size: int
    intermediate_size: int | list[int]  # one a layer
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int | None
    head_dim: int | None
    vocab_size: int
    max_position_embeddings: int
    hidden_act: str
    rms_norm_eps: float
    tie_word_embeddings: bool
    dtype: str | None
    torch_dtype: str | None
    rope_theta: float | None
    rope_scaling: dict | None
    rope_parameters: dict | None
    quantization_config: dict | None
    text_config: "BaseConfig"


class TensorFacts(TypedDict):
    """Of a tensor in the header of a safetensors file."""

    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


class Index(TypedDict):
    weight_map: dict[str, str]


@dataclass(frozen=True)
class Stored:
    """One tensor of a safetensors file; `start` and `size` are bytes from the file's start."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    start: int
    size: int

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} {list(self.shape)}"

    @property
    def count(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


def read_header(file: Path) -> list[Stored]:
    """The tensors of one file in the order of their bytes; UserError when the file is not whole."""
    with reading(file), open(file, "rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        total = os.fstat(opened.fileno()).st_size
        if length > min(total - 8, MOST_BYTES):
            raise UserError(
                f"{file} ({total} bytes) is not a safetensors file, or only its beginning."
            )
        header = parse_json(opened.read(length), dict, file)
    header.pop("__metadata__", None)
    of_kind(header, dict[str, TensorFacts], file)
    found = []
    for name, facts in header.items():
        start, end = facts["data_offsets"]
        place = 8 + length + start
        found.append(Stored(name, facts["dtype"], tuple(facts["shape"]), file, place, end - start))
    found.sort(key=lambda tensor: (tensor.start, tensor.size))
    expected = 8 + length
    for tensor in found:
        width = int(tensor.dtype[-2:]) // 8 if tensor.dtype in FLOATS else None
        fits = tensor.start == expected and min((0, *tensor.shape)) == 0
        if not fits or width and tensor.size != width * tensor.count:
            raise UserError(f"{file} is damaged: {tensor} does not fill its place in it.")
        expected += tensor.size
    if expected != total:
        raise UserError(f"{file} is cut short: it has {total} bytes, its header asks {expected}.")
    return found


def read_base_config(folder: Path) -> BaseConfig:
    """config.json; UserError when it is damaged, or a size in it is none."""
    path = folder / "config.json"
    config = read_json(path, BaseConfig)
    for name, value in config.items():
        if BaseConfig.__annotations__.get(name) is int and value < 1:
            raise UserError(f"{path} is damaged: {name} is {value}.")
    return config


def list_checkpoint(folder: Path) -> list[Stored]:
    """Every tensor of a model folder in order, from its single file or its indexed shards."""
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file():
        return read_header(single)
    if not index.is_file():
        raise UserError(f"{folder} has neither {single.name} nor {index.name}: no weights to read.")
    places = read_json(index, Index)["weight_map"]
    tensors = [t for file in sorted(set(places.values())) for t in read_header(folder / file)]
    lost = sorted(places.keys() - {tensor.name for tensor in tensors})
    if lost:
        raise UserError(f"{index} lists {lost[0]} and {len(lost) - 1} more that no shard holds.")
    return tensors


def numbers(raw: memoryview, stored: Stored):
    """The bytes as a flat tensor of the stored dtype, sharing their memory."""
    import torch

    names = FLOATS | {"U8": "uint8"}
    return torch.frombuffer(raw, dtype=getattr(torch, names[stored.dtype]))


def load(part: Stored):
    """One tensor, read as it is."""
    raw = bytearray(part.size)
    with open(part.file, "rb") as file:
        file.seek(part.start)
        file.readinto(raw)
    return numbers(memoryview(raw), part).view(part.shape)


def header_bytes(tensors: Iterable[Stored], room: int = 0) -> bytes:
    """The header of a file that holds these tensors, padded so that the numbers are aligned; with
    `room`, to so many bytes."""
    header: dict = {"__metadata__": {"format": "pt"}}
    for tensor in tensors:
        ends = [tensor.start, tensor.start + tensor.size]
        header[tensor.name] = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": ends}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * max(-len(text) % 8, room - 8 - len(text))
    return len(text).to_bytes(8, "little") + text
