"""The model card: the README.md that goes to the Hub beside an export, written for people.

Its text is in card.md.jinja; here is what the text needs.
"""

import re
from pathlib import Path, PureWindowsPath
from typing import NamedTuple

from threetoe.export.card.metadata import metadata
from threetoe.machine import terminal
from threetoe.machine.hub import is_hub_id
from threetoe.run.told import account, settings, shown

LABELS = 20  # of a label table
CURVE = 8  # rows of a loss table, where there is no picture
HERE = "path/to/this/folder"
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # that vLLM has room for
GGUF_TYPE = re.compile(r"(?i)(?:^|[-._])((?:i?q\d\w*)|bf16|f16|f32)\.gguf$")


class CardWords(NamedTuple):
    """What a card says of a format."""

    what: str
    library: str  # of the Hub, that loads it: peft, transformers, gguf
    relation: str  # to its base: adapter, finetune, quantized
    tags: tuple[str, ...]
    tools: tuple[str, ...]  # that load it: macros of card.md.jinja

    @property
    def is_adapter(self) -> bool:
        return self.relation == "adapter"


def render_card(facts: dict, words: CardWords, repo_id: str | None = None) -> str:
    """The text of README.md: metadata for the Hub, then sections for people.

    `facts` is what facts.facts_of returns. Without `repo_id` the code names a local folder.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent, encoding="utf-8"), undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters |= {"cell": cell, "shown": shown, "quoted": quoted}
    title = repo_id.split("/")[-1] if repo_id else facts["name"]
    return environment.get_template("card.md.jinja").render(
        {**facts, **tables_of(facts), **places(facts, words, repo_id)},
        head=metadata(facts, words, title),
        title=title,
        words=words,
        fence=fence(facts["template"]["example"]),
    )


def tables_of(facts: dict) -> dict:
    """What is told as tables: their rows, and the names of metrics, ours first."""
    names = {name for row in facts["evaluations"] for name in row["metrics"]}
    labels = facts["data"].get("answers") or {}
    return {
        "account": account(facts["data"]),
        "labels": {label: f"{n:,}" for label, n in list(labels.items())[:LABELS]},
        "settings": settings(facts["options"], facts["defaults"]),
        "figures": figures(facts["metrics"]),
        "steps": steps(facts["curve"]),
        "names": sorted(sorted(names), key=lambda name: name != "exact"),
        "by_label": by_label(facts["evaluations"]),
    }


def figures(metrics: dict) -> dict:
    told = {k: v for k, v in metrics.items() if k != "plugin_seconds"}
    if "peak_memory" in told:
        told["peak_memory"] = terminal.shown(told["peak_memory"])
    return told


def by_label(evaluations: list[dict]) -> list[tuple]:
    """Label, rows, precision, recall and F1 of the last evaluation of this model that has them."""
    rows = [row["labels"] for row in evaluations if row["adapter"] and row.get("labels")]
    told = list(rows[-1].items())[:LABELS] if rows else []
    return [
        (label, f"{row['rows']:,}", *(f"{row[name]:.2f}" for name in ("precision", "recall", "f1")))
        for label, row in told
        if row["rows"]
    ]


def places(facts: dict, words: CardWords, repo_id: str | None) -> dict:
    """How commands name the export, its base and its files."""
    folder = repo_id.split("/")[-1] if repo_id else HERE
    types = [GGUF_TYPE.search(file) for file in facts["gguf"]]
    options = facts["options"]
    rank = options.get("lora_r", 16)
    return {
        "repo_id": repo_id,
        "source": repo_id or HERE,
        "folder": folder,
        "on_hub": is_hub_id(facts["model"]),
        "base": facts["model"] if is_hub_id(facts["model"]) else "path/to/the/base",
        "base_name": PureWindowsPath(facts["model"]).name,
        "added": facts["vocab_size"] if words.is_adapter else 0,
        "in_4bit": "4-bit" in words.tags or words.is_adapter and options["load_in_4bit"],
        "rank": next((room for room in RANKS if rank <= room), rank),
        "gguf_types": [found[1].upper() for found in types if found],
        # A name that Ollama takes.
        "ollama": re.sub(r"[^a-z0-9._-]", "-", folder.lower()) if repo_id else "my-model",
    }


def fence(text: str) -> str:
    """Longer than any run of backticks in the text."""
    return "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))


def steps(curve: list[dict]) -> dict:
    """{step: loss} of a few steps, the last among them."""
    few = [curve[len(curve) * n // CURVE] for n in range(min(CURVE, len(curve)))] + curve[-1:]
    return {point["step"]: point.get("loss", point.get("eval_loss")) for point in few}


def quoted(text: str) -> str:
    return "\n".join(f"> {line}".rstrip() for line in text.strip().splitlines())


def cell(value) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
