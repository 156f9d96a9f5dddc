"""The model card: the README.md that goes to the Hub beside an export, written for people.

Its text is in card.md.jinja; here is what the text needs.
"""

import re
from pathlib import Path, PureWindowsPath
from typing import NamedTuple

from threetoe.export.card.metadata import metadata
from threetoe.machine.hub import is_hub_id

MAIN = """
    lora_r lora_alpha learning_rate max_steps num_train_epochs per_device_train_batch_size
    gradient_accumulation_steps max_seq_length optim lr_scheduler_type load_in_4bit seed
""".split()
NOBODYS = """
    plugin settings dataset_path output_dir push_to preview dry_run model
    dataset template allow_dropped
""".split()  # said elsewhere in the card, or nobody's business
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
        "settings": settings(facts),
        "figures": {k: v for k, v in facts["metrics"].items() if k != "plugin_seconds"},
        "steps": steps(facts["curve"]),
        "names": sorted(sorted(names), key=lambda name: name != "exact"),
    }


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


def account(ledger: dict) -> dict:
    """{what: rows} of the account of rows."""
    if not ledger:
        return {}
    rows = {name: ledger[name] for name in ("read", "trained") if name in ledger}
    for name, words in (
        ("validation", "kept for validation"), ("truncated", "cut to fit"),
        ("duplicates", "stand in it more than once"), ("tokens", "tokens trained on"),
    ):  # fmt: skip
        if ledger.get(name):
            rows[words] = ledger[name]
    for what in ("dropped", "skipped"):
        for reason, count in ledger.get(what, {}).items():
            rows[f"{what}: {reason}"] = count
    return {words: f"{count:,}" for words, count in rows.items()}


def settings(facts: dict) -> dict:
    """The main options, and those that are not the default."""
    defaults, options = facts["defaults"], facts["options"]
    told = {name: options[name] for name in MAIN if options.get(name) is not None}
    for name, value in options.items():
        differs = name not in defaults or shown(value) != shown(defaults[name])
        if name not in NOBODYS and value not in (None, "", [], ()) and differs:
            told.setdefault(name, value)
    return told


def steps(curve: list[dict]) -> dict:
    """{step: loss} of a few steps, the last among them."""
    few = [curve[len(curve) * n // CURVE] for n in range(min(CURVE, len(curve)))] + curve[-1:]
    return {point["step"]: point.get("loss", point.get("eval_loss")) for point in few}


def quoted(text: str) -> str:
    return "\n".join(f"> {line}".rstrip() for line in text.strip().splitlines())


def cell(value) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


def shown(value) -> str:
    """A value as a reader may see it: of a local path only its last part, lists in one line."""
    if isinstance(value, (list, tuple)):
        return ", ".join(map(shown, value))
    if isinstance(value, dict):
        return ", ".join(f"{key}: {shown(item)}" for key, item in value.items())
    if isinstance(value, float):
        return f"{value:.6g}"
    text = "" if value is None else str(value)
    if re.match(r"[/~\\]|\.{1,2}[/\\]|[A-Za-z]:[/\\]", text) and "\n" not in text:
        return PureWindowsPath(text).name
    return text
