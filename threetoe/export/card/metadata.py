"""The YAML head of a model card, as the Hub reads it: hf.co/docs/hub/model-cards."""

import math
import re
from pathlib import Path, PureWindowsPath

import yaml

KINDS = ADAPTER, MERGED, FOUR_BIT, GGUF, OLLAMA = "adapter merged merged-4bit gguf ollama".split()
LIBRARY = {ADAPTER: "peft", GGUF: "gguf", OLLAMA: "gguf"}  # the others: transformers
RELATION = {ADAPTER: "adapter", MERGED: "finetune"}  # the others: quantized
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+", re.ASCII)
TASK = "text-generation"
TYPES = {"exact": "exact_match"}  # our names of metrics: the Hub's


def metadata(facts: dict, kind: str, repo_id: str | None = None) -> str:
    """The YAML block; a base or data in a local folder stay out of it."""
    base = facts["model"] if on_hub(facts["model"]) else None
    named = facts["options"].get("dataset") or ()
    named = [named] if isinstance(named, str) else named
    datasets = [name.partition(":")[0] for name in named]
    language = dict(map(tuple, facts["options"].get("dataset_option") or [])).get("lang")
    fields = {
        "base_model": base,
        "base_model_relation": RELATION.get(kind, "quantized") if base else None,
        **facts.get("license", {}),
        "language": [language] if language and re.fullmatch("[a-z]{2,3}", language) else None,
        "datasets": list(filter(on_hub, datasets)) or None,
        "library_name": LIBRARY.get(kind, "transformers"),
        "pipeline_tag": TASK,
        "tags": tags(kind),
        "model-index": model_index(facts, name_of(facts, kind, repo_id)),
    }
    known = {name: value for name, value in fields.items() if value}
    return f"---\n{yaml.safe_dump(known, sort_keys=False, allow_unicode=True)}---"


def tags(kind: str) -> list[str]:
    own = {ADAPTER: ["lora"], FOUR_BIT: ["bitsandbytes", "4-bit"], GGUF: ["llama.cpp", "ollama"]}
    return [*own.get(GGUF if kind == OLLAMA else kind, []), "sft", "unsloth", "threetoe"]


def name_of(facts: dict, kind: str, repo_id: str | None) -> str:
    return (repo_id or f"{PureWindowsPath(facts['model']).name} {kind}").split("/")[-1]


def on_hub(model: str) -> bool:
    """Whether `model` is a Hub id; a folder of that name comes first, as it does for loading."""
    return bool(HUB_ID.fullmatch(model)) and not Path(model).exists()


def model_index(facts: dict, name: str) -> list[dict] | None:
    """Evaluations of the model, not of its base, in the Hub's schema."""
    results = [
        {
            "task": {"type": TASK, "name": "Text generation"},
            "dataset": dataset_of(row),
            "metrics": [
                {"type": TYPES.get(name, name), "value": value, "name": name}
                for name, value in row["metrics"].items()
                if math.isfinite(value)
            ],
        }
        for row in facts.get("evaluations", [])
        if row["adapter"] and row["metrics"]
    ]
    return [{"name": name, "results": results}] if results else None


def dataset_of(row: dict) -> dict:
    name = row["file"] if on_hub(row["file"]) else PureWindowsPath(row["file"]).stem
    split = {"split": row["split"]} if row.get("split") else {}
    return {"name": name, "type": name, **split}
