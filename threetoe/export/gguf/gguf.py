"""The exporters `gguf` and `ollama`: base + adapter as GGUF files, written tensor by tensor.

No llama.cpp is built and no model is loaded; a few MB are held at a time. What is written is what
llama.cpp's own converter writes for the same model.
"""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

from threetoe.backend import model as backend
from threetoe.backend.checkpoint import read_base_config
from threetoe.errors import Checks, UserError
from threetoe.export.gguf.tensors import (
    ARCHITECTURES,
    Tensors,
    head_size,
    list_tensors,
    numbers_of,
    rope_of,
    targets_of,
)
from threetoe.export.gguf.tokenizer import add_tokenizer, check_tokenizer
from threetoe.export.gguf.types import K_QUANTS, check_types, file_type, ggml, run_program
from threetoe.export.merge.base_weights import as_used, base_weights
from threetoe.export.merge.merge import Merge
from threetoe.export.merge.options import MergeOptions
from threetoe.machine.terminal import bytes_done, clear_line
from threetoe.options.export import ExportConfig
from threetoe.run.record import Run

DEFAULT = "q8_0"
ROPES = ("default", "linear", "llama3", "yarn")
BETWEEN = "bf16"  # of the file that llama-quantize is given
OTHERS = (
    "--gguf: {kind} is not among what is written here ({known}); write --merged DIR, and let "
    "llama.cpp's converter make the file: python convert_hf_to_gguf.py DIR --outfile FILE."
)


def check_gguf(run: Run, folder: Path, config: ExportConfig) -> None:
    """One UserError with all that --gguf and --ollama cannot do; only small files are read.

    `folder` is the run's. What the Hub has of a base is not looked at: only a local one.
    """
    checks = Checks()
    checks(check_types, types_asked(config))
    if config.ollama and run.marks:
        checks(run.the_template().modelfile, run.the_marks())
    base = Path(backend.locate(config.base or run.options["model"]))
    here = (base / "config.json").is_file()
    if here:
        checks(check_model, read_base_config(base))
    found = [place for place in (folder, base) if (place / "tokenizer.json").is_file()]
    if found and not checks.problems:
        checks(check_tokenizer, found[0])
    checks.done()


def types_asked(config: ExportConfig) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.lower() for name in config.gguf)) or (DEFAULT,)


def check_model(config: dict) -> None:
    """UserError when no file can be made of a model with this config.json."""
    kind = config.get("model_type")
    if kind not in ARCHITECTURES:
        raise UserError(OTHERS.format(kind=kind, known=", ".join(ARCHITECTURES)))
    rope = rope_of(config)["rope_type"]
    if rope not in ROPES:
        raise UserError(f"--gguf: rope scaling of type {rope} is not written, only {ROPES}.")
    if config.get("hidden_act", "silu") != "silu":
        raise UserError(f"--gguf: the base uses {config['hidden_act']}; llama.cpp has silu here.")


def bytes_of_files(plan: Merge, values: dict, types: tuple[str, ...]) -> int:
    """What files of these types take of a base with the config.json `values`, and the one between
    that llama-quantize needs; UserError for what cannot be written."""
    check_types(types)
    check_model(values)
    between = [BETWEEN] if set(types) & set(K_QUANTS) and not ggml() else []
    return sum(t.size for name in (*types, *between) for t in targets_of(plan, values, name))


def write_gguf(run: Run, folder: Path, config: ExportConfig) -> None:
    """The exporter `gguf`: NAME.TYPE.gguf in `folder` for every type of --gguf."""
    write_types(run, folder, config, types_asked(config))


def write_ollama(run: Run, folder: Path, config: ExportConfig) -> None:
    """The exporter `ollama`: one GGUF file (the first type of --gguf) and a Modelfile."""
    (path,) = write_types(run, folder, config, types_asked(config)[:1])
    text = run.the_template().modelfile(run.the_marks(), f"./{path.name}")
    (folder / "Modelfile").write_text(text, encoding="utf-8", newline="\n")


def write_types(run: Run, folder: Path, config: ExportConfig, types) -> list[Path]:
    check_types(types)
    paths = {name: folder / f"{model_name(run)}.{name}.gguf" for name in types}
    check_model(read_base_config(base_weights(run, config)))
    for name, path in paths.items():
        write_type(run, path, config, name)
    return list(paths.values())


def write_type(run: Run, path: Path, config: ExportConfig, name: str) -> None:
    """Write one file; where only llama-quantize can make the type, with a bf16 file between."""
    if name not in K_QUANTS or ggml():
        return write_file(run, path, config, name)
    with TemporaryDirectory(dir=path.parent) as between:  # the disk that was checked for room
        source = Path(between, path.name)
        write_file(run, source, config, BETWEEN)
        run_program(source, path, name)


def model_name(run: Run) -> str:
    """What a file is called: as the run's folder; after the base where that is not known."""
    return Path(run.options.get("output_dir") or run.options["model"]).name


def write_file(run: Run, path: Path, config: ExportConfig, name: str) -> None:
    """Write base + adapter as a GGUF file of a type that can be made here."""
    from gguf import GGMLQuantizationType, GGUFWriter

    base = base_weights(run, config)
    values = read_base_config(base)
    options = MergeOptions(as_used=as_used(run, config), rounding=config.rounding)
    tensors = list_tensors(base, config.run, name, options)
    writer = GGUFWriter(path, ARCHITECTURES[values["model_type"]][0])
    try:
        add_model(writer, values, run, tensors, name)
        add_tokenizer(writer, backend.load_tokenizer(config.run), run, tensors.rows)
        writer.add_chat_template(run.the_template().gguf_jinja(run.the_marks()))
        for target in tensors.targets:
            kind = GGMLQuantizationType[target.kind]
            writer.add_tensor_info(target.name, target.shape, None, target.size, kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        write_numbers(writer, tensors)
    finally:
        writer.close()


def write_numbers(writer, tensors: Tensors) -> None:
    """Write the tensors in the order of their entries, each aligned, and sync the file."""
    (file,) = writer.fout
    writer.write_padding(file, file.tell())
    show, done = bytes_done(Path(file.name).name), 0
    total = sum(target.size for target in tensors.targets)
    for target, pieces in numbers_of(tensors):
        start = file.tell()
        for piece in pieces:
            done += file.write(piece)
            show(done, total)
        assert file.tell() - start == target.size, target
        writer.write_padding(file, target.size)
    clear_line()
    file.flush()
    os.fsync(file.fileno())


def add_model(writer, values: dict, run: Run, tensors: Tensors, name: str) -> None:
    """The keys that describe the model, from its config.json."""
    from gguf import GGML_QUANT_VERSION, GGUFType

    writer.add_type(GGUFType.MODEL)
    writer.add_name(model_name(run))
    writer.add_file_type(file_type(name))
    writer.add_quantization_version(GGML_QUANT_VERSION)
    writer.add_context_length(values["max_position_embeddings"])
    writer.add_embedding_length(values["hidden_size"])
    writer.add_block_count(values["num_hidden_layers"])
    writer.add_feed_forward_length(values["intermediate_size"])
    heads = values["num_attention_heads"]
    writer.add_head_count(heads)
    writer.add_head_count_kv(values.get("num_key_value_heads") or heads)
    writer.add_key_length(head_size(values))
    writer.add_value_length(head_size(values))
    writer.add_layer_norm_rms_eps(values["rms_norm_eps"])
    writer.add_vocab_size(tensors.rows)
    writer.add_rope_dimension_count(head_size(values))
    add_rope(writer, rope_of(values))


def add_rope(writer, rope: dict) -> None:
    """The rope's base and scaling; llama3's scaling is a tensor of factors instead."""
    from gguf import RopeScalingType

    writer.add_rope_freq_base(rope["rope_theta"])
    if rope["rope_type"] in ("linear", "yarn"):
        writer.add_rope_scaling_type(RopeScalingType(rope["rope_type"]))
        writer.add_rope_scaling_factor(rope["factor"])
    if rope["rope_type"] == "yarn":
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
