"""GGUF files of architectures that are not written here: through Unsloth's own exporter.

That is llama.cpp's convert_hf_to_gguf.py, patched by unsloth_zoo.llama_cpp. It gets our merged
checkpoint, which lies beside the result meanwhile and is proven first. Nothing is downloaded,
cloned or installed: llama.cpp is where Unsloth looks for it, or one line says how to put it there.
"""

import functools
import importlib.util
import json
import logging
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import NamedTuple

from threetoe.backend import model as backend
from threetoe.errors import Failure, UserError, first_line
from threetoe.export.gguf.tokenizer import puts_space
from threetoe.export.gguf.types import can_quantize_files, llama_cpp_folder, quantize_file
from threetoe.export.merge.base_weights import base_weights
from threetoe.export.merge.exporters import copy
from threetoe.export.merge.exporters import write_checkpoint as write_merged
from threetoe.export.merge.merge import Merge, merge
from threetoe.export.verify import verify
from threetoe.machine.files import read_json, write_json
from threetoe.machine.libraries import chatter_hidden
from threetoe.options.export import ExportConfig
from threetoe.run import record as runs

DIRECT = ("f32", "f16", "bf16", "q8_0")  # what the converter writes itself
BITS = {"f32": 32, "f16": 16, "bf16": 16}
NEEDS = "takes Unsloth's converter out of llama.cpp's source"
MENDS = (
    "git clone https://github.com/ggml-org/llama.cpp, and set UNSLOTH_LLAMA_CPP_PATH to that folder"
)
SHARD = "1000000GB"  # of the converter's files: never split


class Exporter(NamedTuple):
    unsloth: ModuleType  # unsloth_zoo.llama_cpp
    script: str  # the converter
    known: frozenset  # architectures, as config.json names them


def exporter() -> Exporter:
    """Unsloth's exporter, with the llama.cpp that it finds; UserError when it finds none."""
    return exporter_in(llama_cpp_folder())


@functools.cache  # Unsloth reads llama.cpp's code for what it should not do: ten seconds
def exporter_in(folder: Path) -> Exporter:
    if not folder.is_dir() and "UNSLOTH_LLAMA_CPP_SCRIPTS_DIR" not in os.environ:
        raise UserError(f"--gguf of this architecture {NEEDS}: nothing is in {folder}; {MENDS}.")
    unsloth = unsloths_module()
    with chatter_hidden():
        try:
            script, known, _ = unsloth._download_convert_hf_to_gguf()
        except (RuntimeError, OSError) as error:
            reason = first_line(error).split(". ")[0]
            raise UserError(
                f"--gguf of this architecture {NEEDS}, and not from {folder} ({reason}); {MENDS}."
            ) from error
    return Exporter(unsloth, script, known)


def unsloths_module() -> ModuleType:
    """unsloth_zoo.llama_cpp, read alone: importing Unsloth takes ten seconds and changes the
    transformers that the proof is made with. UserError when it is not installed."""
    found = importlib.util.find_spec("unsloth_zoo")
    if found is None:
        raise UserError("--gguf of this architecture needs Unsloth: pip install unsloth_zoo.")
    name = "unsloth_llama_cpp"
    logger = logging.getLogger(name)
    logger.addHandler(logging.NullHandler())  # or it sets the root logger's level
    logger.setLevel(logging.CRITICAL)
    os.environ["UNSLOTH_AUTO_INSTALL"] = "0"  # neither apt nor pip
    os.environ["UNSLOTH_LLAMA_CPP_OFFLINE"] = "1"
    spec = importlib.util.spec_from_file_location(name, Path(found.origin).parent / "llama_cpp.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def check(config: dict, types) -> None:
    """UserError unless Unsloth's exporter can write a model with this config.json in these types;
    nothing of the model is read."""
    kind = config.get("model_type")
    names = config.get("architectures") or ["?"]
    if names[0] not in exporter().known:
        raise UserError(
            f"--gguf: the converter of the llama.cpp in {llama_cpp_folder()} knows no {kind} "
            f"({names[0]}); a newer llama.cpp may."
        )
    other = [name for name in types if name not in DIRECT]
    if other and not can_quantize_files():
        raise UserError(
            f"--gguf {other[0]} of a {kind} model needs llama.cpp's own quantizer: pip install "
            f"llama-cpp-python, or build llama-quantize; {', '.join(DIRECT)} need nothing."
        )


def bytes_of_files(plan: Merge, types) -> int:
    """Disk for files of these types, and for what is there only meanwhile: the merged checkpoint, a
    file as large to quantise, and one before its keys are put right. Which type llama.cpp chooses
    for a tensor is not known here: none takes more than q8_0's 8.5 bits a number."""
    numbers = sum(output.count for output in plan.outputs)
    files = [numbers * BITS.get(name, 8.5) / 8 for name in types]
    between = any(name not in DIRECT for name in types)
    whole = sum(output.size for output in plan.outputs)
    return int(sum(files) + max(files) + whole * (1 + between))


def write(run: runs.Run, config: ExportConfig, paths: dict[str, Path], keys: dict) -> None:
    """Write a file of each type to its path; `keys` (name -> text) replace the converter's own.
    Failure when the checkpoint is wrong or the converter fails."""
    with TemporaryDirectory(dir=next(iter(paths.values())).parent) as scratch:
        merged = write_checkpoint(run, Path(scratch, "merged"), config)
        tokenizer = backend.load_tokenizer(config.run)
        for name, path in paths.items():
            made = name if name in DIRECT else as_stored(merged)
            source = Path(scratch, f"{made}.gguf")
            if not source.exists():
                convert(merged, source, made)
            if name not in DIRECT:
                quantize_file(source, Path(scratch, path.name), name)
                source = Path(scratch, path.name)
            copy_with_keys(source, path, keys | keys_of(tokenizer, run.stop_ids))
            source.unlink()


def write_checkpoint(run: runs.Run, folder: Path, config: ExportConfig) -> Path:
    """The merged checkpoint, compared with base and adapter unless --no-verify, and what the
    converter reads besides: SentencePiece's file, and added tokens as transformers 4 wrote them."""
    folder.mkdir()
    write_merged(run, folder, config, merge, "merged")
    found = verify.verify(folder, "merged", run, config) if config.verify else {}
    if found.get("passed") is False:
        raise Failure(f"The merge for --gguf is wrong: {'; '.join(found['problems'])}.")
    copy(base_weights(run, config), folder, ["tokenizer.model"])
    tokenizer, marks = backend.load_tokenizer(config.run), run.the_marks()
    added = {
        str(number): {"content": token.content, "special": token.content in marks.special}
        for number, token in tokenizer.added_tokens_decoder.items()
    }
    path = folder / "tokenizer_config.json"
    write_json(path, {**read_json(path), "added_tokens_decoder": added})
    return folder


def as_stored(merged: Path) -> str:
    """The type that loses nothing of a checkpoint's, to quantise from."""
    kinds = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}
    return kinds[read_json(merged / "config.json")["dtype"]]


def convert(merged: Path, target: Path, name: str) -> None:
    """Write a file of one of the types in DIRECT; Failure with the converter's last line."""
    unsloth, script, known = exporter()
    with chatter_hidden():
        try:
            unsloth.convert_to_gguf(
                str(target), str(merged), quantization_type=name, converter_location=script,
                supported_text_archs=known, max_shard_size=SHARD,
            )  # fmt: skip
        except (RuntimeError, NotImplementedError, ValueError, OSError) as error:
            lines = [line for line in str(error).splitlines() if "Error: " in line]
            reason = (lines or [first_line(error)])[-1]
            raise Failure(f"Unsloth's converter failed: {reason}") from error


def keys_of(tokenizer, stops: list[int]) -> dict:
    """What the converter does not know, or guesses: the run's stop ids (EOS, and the end of a turn
    where answers end otherwise), and what is put around a text."""
    from gguf import Keys

    eot = [stop for stop in stops if stop != tokenizer.eos_token_id]
    ids = tokenizer("a").input_ids
    return {
        Keys.Tokenizer.EOS_ID: tokenizer.eos_token_id,
        Keys.Tokenizer.EOT_ID: eot[0] if eot else None,
        Keys.Tokenizer.ADD_BOS: ids[0] == tokenizer.bos_token_id,
        Keys.Tokenizer.ADD_EOS: ids[-1] == tokenizer.eos_token_id,
        Keys.Tokenizer.ADD_PREFIX: puts_space(json.loads(tokenizer.backend_tokenizer.to_str())),
    }


def copy_with_keys(source: Path, target: Path, keys: dict) -> None:
    """Copy a GGUF file with these keys instead of its own; None leaves one out."""
    from contextlib import redirect_stderr
    from io import StringIO

    from gguf import GGUFReader, GGUFValueType, GGUFWriter, Keys
    from gguf.scripts.gguf_new_metadata import MetadataDetails, copy_with_new_metadata

    kinds = {str: GGUFValueType.STRING, int: GGUFValueType.UINT32, bool: GGUFValueType.BOOL}
    left_out = [name for name, value in keys.items() if value is None]
    new = {
        name: MetadataDetails(kinds[type(value)], value)
        for name, value in keys.items()
        if value is not None
    }
    reader = GGUFReader(source)
    writer = GGUFWriter(target, reader.get_field(Keys.General.ARCHITECTURE).contents())
    with redirect_stderr(StringIO()):  # its progress
        copy_with_new_metadata(reader, writer, new, left_out)
    with open(target, "rb+") as file:
        os.fsync(file.fileno())
