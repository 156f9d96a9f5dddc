"""The formats of an export, a row each: all that the flow has to know of one stands here.

A format is a row and the function that fills its folder. One that a plugin's register_exporters
adds has the row `ExportFormat(name)`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from threetoe.export.card.card import CardWords
from threetoe.export.gguf.gguf import bytes_of_files, types_asked, write_gguf, write_ollama
from threetoe.export.merge.changes import is_embedding
from threetoe.export.merge.exporters import write_adapter, write_merged, write_merged_4bit
from threetoe.export.merge.merge import Merge
from threetoe.export.merge.nf4 import packed_size
from threetoe.options.export import ExportConfig


@dataclass(frozen=True)
class ExportFormat:
    """The defaults are what holds of a plugin's."""

    name: str  # of --format NAME=DIR, of hooks, in verify.json
    write: Callable | None = None  # (run, folder, config) fills a new folder; a plugin has its own
    option: str = ""  # of ExportConfig, that asks for it
    place: str = ""  # the option that names its folder, where that is another one
    size: Callable | None = None  # bytes of its folder, by the functions below; None: not known
    merges: bool = False  # reads the base's weights; the others that are ours its name alone
    resumes: bool = False  # goes on at its next shard when it was stopped
    pushed: bool = False  # --push takes the first of these that is asked for, else the adapter
    card: CardWords | None = None  # None: it has the card that it writes itself

    @property
    def flag(self) -> str:
        option = self.place or self.option
        return f"--{option.replace('_', '-')}" if option else f"--format {self.name}"


def adapter_bytes(folder: Path, *given) -> int:
    weights = folder / "adapter_model.safetensors"
    return weights.stat().st_size if weights.exists() else 0  # of a run that is still to be trained


def merged_bytes(folder: Path, plan: Merge, *given) -> int:
    return sum(output.size for output in plan.outputs)


def merged_4bit_bytes(folder: Path, plan: Merge, *given) -> int:
    """At most: embeddings stay as they are, and whatever else is no matrix."""
    return sum(
        packed_size(t.count) if t.shape[1:] and not is_embedding(t.name) else t.size
        for t in plan.outputs
    )


def gguf_bytes(folder: Path, plan: Merge, values: dict, config: ExportConfig) -> int:
    """Of a base with the config.json `values`; UserError for what cannot be written."""
    return bytes_of_files(plan, values, types_asked(config))


def ollama_bytes(folder: Path, plan: Merge, values: dict, config: ExportConfig) -> int:
    return bytes_of_files(plan, values, types_asked(config)[:1])


MERGED = ("transformers", "unsloth", "vllm")  # what loads a merged checkpoint of ours
ROWS = (
    ExportFormat(
        "adapter", write_adapter, "adapter", size=adapter_bytes,
        card=CardWords(
            "A LoRA adapter: the weights that fine-tuning learned, to be loaded on its base.",
            "peft", "adapter", ("lora",), (*MERGED, "ollama_of_adapter", "threetoe"),
        ),
    ),
    ExportFormat(
        "merged", write_merged, "merged", size=merged_bytes, merges=True, resumes=True, pushed=True,
        card=CardWords(
            "A fine-tuned model: its base with the learned LoRA weights merged in.",
            "transformers", "finetune", (), (*MERGED, "ollama_of_modelfile", "threetoe"),
        ),
    ),
    ExportFormat(
        "merged-4bit", write_merged_4bit, "merged_4bit", size=merged_4bit_bytes, merges=True,
        resumes=True, pushed=True,
        card=CardWords(
            "A fine-tuned model, base and LoRA weights in one, quantised to 4 bits (NF4).",
            "transformers", "quantized", ("bitsandbytes", "4-bit"), MERGED,
        ),
    ),
    ExportFormat(
        "gguf", write_gguf, "gguf", "gguf_dir", size=gguf_bytes, merges=True, pushed=True,
        card=CardWords(
            "A fine-tuned model, base and LoRA weights in one, as GGUF for llama.cpp and Ollama.",
            "gguf", "quantized", ("llama.cpp", "ollama"), ("ollama_of_gguf", "llamacpp"),
        ),
    ),
    ExportFormat(
        "ollama", write_ollama, "ollama", size=ollama_bytes, merges=True,
        card=CardWords(
            "A fine-tuned model, base and LoRA weights in one, for Ollama.",
            "gguf", "quantized", ("llama.cpp", "ollama"), ("ollama_of_modelfile", "llamacpp"),
        ),
    ),
)  # fmt: skip
FORMATS = {row.name: row for row in ROWS}


def format_of(name: str) -> ExportFormat:
    """The row of a format; of one that a plugin adds, the defaults."""
    return FORMATS.get(name) or ExportFormat(name)
