"""The exporters `adapter`, `merged` and `merged-4bit`: each fills a new folder with what a format
needs."""

import shutil
from collections.abc import Callable
from pathlib import Path

from threetoe.backend import model as backend
from threetoe.backend.adapter import CONFIG, WEIGHTS, read_config
from threetoe.errors import UserError, first_line
from threetoe.export.merge.base_weights import as_used, base_weights
from threetoe.export.merge.four_bit import merge_4bit, merged_config
from threetoe.export.merge.merge import merge
from threetoe.export.merge.options import MergeOptions
from threetoe.machine.files import write_json
from threetoe.machine.libraries import quieten
from threetoe.machine.terminal import bytes_done, clear_line, say
from threetoe.options.export import ExportConfig
from threetoe.run import base as bases
from threetoe.run import record as runs

TOKENIZER_FILES = (  # each of which the proof reads: what it does not read may be anything
    "tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json",
)  # fmt: skip
ADAPTER_FILES = (CONFIG, WEIGHTS)


def write_adapter(run: runs.Run, folder: Path, config: ExportConfig) -> None:
    """The exporter `adapter`: PEFT's two files, the tokenizer's, and the run's record."""
    write_record(run, config.run, folder)
    copy(config.run, folder, ADAPTER_FILES)
    values, base = read_config(folder), run.options["model"]
    base = config.base if config.base and bases.is_gone(base) else base
    values["base_model_name_or_path"] = backend.locate(base)
    write_json(folder / CONFIG, values)


def write_merged(run: runs.Run, folder: Path, config: ExportConfig) -> None:
    """The exporter `merged`: base + adapter in 16 bits, for plain transformers."""
    write_checkpoint(run, folder, config, merge, "merged")
    write_modelfile(run, folder)


def write_merged_4bit(run: runs.Run, folder: Path, config: ExportConfig) -> None:
    """The exporter `merged-4bit`: base + adapter in 4 bits, for plain transformers."""
    write_checkpoint(run, folder, config, merge_4bit, "merged-4bit")


def write_checkpoint(
    run: runs.Run, folder: Path, config: ExportConfig, merge: Callable, what: str
) -> None:
    """The weights, by merge() or merge_4bit(), and the files that go with them."""
    quieten()
    base, size = base_weights(run, config), round(config.max_shard_size * 10**9)
    used, shown = as_used(run, config), bytes_done(what)
    options = MergeOptions(config.dtype, size, used, shown, config.rounding)
    facts = merge(base, config.run, folder, options)
    clear_line()
    write_json(folder / "config.json", merged_config(base, facts, run.stop_ids))
    write_record(run, config.run, folder)
    copy(base, folder, ["tokenizer.model"])  # of SentencePiece, which llama.cpp's converter reads


def write_record(run: runs.Run, source: Path, folder: Path) -> None:
    """What every format brings of a run: its record, and its tokenizer with the chat template."""
    write_json(folder / runs.RECORD, runs.without_paths(run))
    copy(source, folder, TOKENIZER_FILES)


def write_modelfile(run: runs.Run, folder: Path) -> None:
    """Modelfile, with which Ollama imports the folder; not where a base's own chat template has no
    such form."""
    try:
        text = run.the_template().modelfile(run.the_marks())
    except UserError as error:
        return say(f"no Modelfile: {first_line(error)}")
    (folder / "Modelfile").write_text(text, encoding="utf-8", newline="\n")


def copy(source: Path, target: Path, names) -> None:
    """Copy those of the files that a tokenizer of this kind has."""
    for name in names:
        if (source / name).exists():
            shutil.copyfile(source / name, target / name)
