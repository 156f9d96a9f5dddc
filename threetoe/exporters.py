"""The exporters `adapter` and `merged`: each fills a new folder with what a format needs."""

import json
import shutil
from pathlib import Path

import click

from threetoe import backend, ollama
from threetoe import base as bases
from threetoe import run as runs
from threetoe.byte_progress import bytes_done
from threetoe.config import ExportConfig
from threetoe.merge import check_merge, merge, stays
from threetoe.merged_config import merged_config
from threetoe.nf4 import as_used_in_4bit
from threetoe.quiet import clear_line, quieten
from threetoe.template import Template

TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja",
    "generation_config.json",
)  # fmt: skip
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


def write_adapter(run: runs.Run, folder: Path, config: ExportConfig) -> None:
    """The exporter `adapter`: PEFT's two files, the tokenizer's, and the run's record."""
    runs.write_json(folder / runs.RECORD, runs.without_paths(run))
    copy(config.run, folder, ADAPTER_FILES + TOKENIZER_FILES)
    path = folder / "adapter_config.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    values["base_model_name_or_path"] = backend.location(run.options["model"])
    runs.write_json(path, values)


def write_merged(run: runs.Run, folder: Path, config: ExportConfig) -> None:
    """The exporter `merged`: base + adapter in 16 bits, for plain transformers."""
    write_weights(run, folder, config)
    write_modelfile(run, folder)


def write_weights(run: runs.Run, folder: Path, config: ExportConfig) -> None:
    """All of a merged checkpoint but what is for Ollama."""
    quieten()
    base = bases.base_weights(run, config)
    check_merge(base, config.run)
    facts = merge(
        base, config.run, folder, config.dtype, round(config.max_shard_size * 10**9),
        bytes_done("merged"),
        as_used=as_used_in_4bit if bases.dequantizes(run, config) else stays,
    )  # fmt: skip
    clear_line()
    values = merged_config(base, facts, run.stop_ids)
    runs.write_json(folder / "config.json", values)
    runs.write_json(folder / runs.RECORD, runs.without_paths(run))
    copy(config.run, folder, TOKENIZER_FILES)


def write_modelfile(run: runs.Run, folder: Path) -> None:
    """Modelfile, with which Ollama imports the folder; not for a base's own Jinja, which has no
    such form."""
    template = run.the_template()
    if not isinstance(template, Template):
        return click.echo(f"no Modelfile for Ollama: {template.name} is Jinja alone", err=True)
    text = ollama.modelfile(template, run.the_marks())
    (folder / "Modelfile").write_text(text, encoding="utf-8", newline="\n")


def copy(source: Path, target: Path, names) -> None:
    """Copy those of the files that a tokenizer of this kind has."""
    for name in names:
        if (source / name).exists():
            shutil.copyfile(source / name, target / name)
