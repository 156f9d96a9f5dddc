"""The model card: the README.md that goes to the Hub beside an export, written for people."""

import re
from pathlib import PureWindowsPath

from threetoe.export.card.metadata import (
    ADAPTER,
    FOUR_BIT,
    GGUF,
    MERGED,
    OLLAMA,
    metadata,
    name_of,
    on_hub,
)
from threetoe.export.card.usage import usage

WHAT = {
    ADAPTER: "A LoRA adapter: the weights that fine-tuning learned, to be loaded on its base.",
    MERGED: "A fine-tuned model: its base with the learned LoRA weights merged in.",
    FOUR_BIT: "A fine-tuned model, base and LoRA weights in one, quantised to 4 bits (NF4).",
    GGUF: "A fine-tuned model, base and LoRA weights in one, as GGUF for llama.cpp and Ollama.",
    OLLAMA: "A fine-tuned model, base and LoRA weights in one, for Ollama.",
}
MADE = "Made with Threetoe and [Unsloth](https://github.com/unslothai/unsloth)."
EXPORTED = "Trained with other tools, and exported with Threetoe."
MAIN = """
    lora_r lora_alpha learning_rate max_steps num_train_epochs per_device_train_batch_size
    gradient_accumulation_steps max_seq_length optim lr_scheduler_type load_in_4bit seed
""".split()
NOBODYS = """
    plugin settings dataset_path output_dir push_to data_cache preview dry_run model
    dataset template allow_dropped
""".split()  # said elsewhere in the card, or nobody's business
LABELS = 20  # of a label table
CURVE = 8  # rows of a loss table, where there is no picture


def card(facts: dict, kind: str, repo_id: str | None = None) -> str:
    """The text of README.md: metadata for the Hub, then sections for people.

    `facts` is what card_facts.facts_of returns; `kind` is one of card_metadata.KINDS.
    Without `repo_id` the code names a local folder.
    """
    sections = [
        metadata(facts, kind, repo_id),
        introduction(facts, kind, repo_id),
        prompt(facts["template"]),
        usage(facts, kind, repo_id),
        evaluation(facts.get("evaluations", [])),
        comparison(facts.get("verify", {})),
        data(facts["data"]),
        training(facts),
        table("Versions", "package", "version", facts["packages"]),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def base(facts: dict) -> str:
    if on_hub(facts["model"]):
        return f"[{facts['model']}](https://huggingface.co/{facts['model']})"
    return f"`{PureWindowsPath(facts['model']).name}`, a model in a local folder"


def precision(facts: dict) -> str:
    """In which form the base was trained on, where that is known."""
    return f", {facts['precision']} in training" if facts.get("precision") else ""


def introduction(facts: dict, kind: str, repo_id: str | None) -> str:
    ledger = facts["data"]
    trained_on = "unknown"
    if ledger:
        trained_on = f"`{shown(ledger['source'])}`, {ledger['trained']:,} examples"
    terms = facts.get("license", {}).get("license")
    return f"""# {name_of(facts, kind, repo_id)}

{WHAT[kind]}

- Base model: {base(facts)}{precision(facts)}
- Licence of the base: {f"`{terms}`" if terms else "not stated here; see the base"}
- Trained on: {trained_on}
- Prompt template: `{facts["template"]["name"]}`, saved with the tokenizer as its chat template

{MADE if ledger else EXPORTED}"""


def prompt(template: dict) -> str:
    """The rendered example, fenced longer than any run of backticks inside it."""
    example = template["example"].rstrip("\n")
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", example)), default=0))
    return f"""## Prompt template

`{template["name"]}`; an example, with what the model learned to write in ⟦ ⟧:

{fence}text
{example}
{fence}"""


def evaluation(found: list[dict]) -> str:
    """A row for each evaluation; those without the adapter are the base's, for comparison."""
    names = sorted({name for row in found for name in row["metrics"]}, key=lambda n: n != "exact")
    if not names:
        return ""
    lines = [
        "## Evaluation",
        "",
        "`exact` is the share of answers that equal the expected text.",
        "",
        f"| data | split | answers | model | {' | '.join(map(cell, names))} |",
        f"|{'---|' * (4 + len(names))}",
    ]
    for row in found:
        figures = [cell(shown(row["metrics"].get(name))) for name in names]
        model = "this model" if row["adapter"] else "the base alone"
        about = [cell(shown(row["file"])), row.get("split") or "", f"{row['answers']:,}", model]
        lines.append(f"| {' | '.join(about + figures)} |")
    return "\n".join(lines)


def comparison(found: dict) -> str:
    """What verify.json says, in sentences."""
    if found.get("passed") is None:
        return ""
    lines = ["## How the export was checked", ""]
    if "gap" not in found:
        lines.append("Prompt ids and stop ids were compared with those of the run: they agree.")
    else:
        tokens = found["tokens"]
        same = tokens["same"] + tokens["ties"]
        lines.append(
            f"These files were loaded and compared with base and adapter on {found['prompts']} "
            f"prompts: {same:,} of {tokens['positions']:,} greedy tokens agree; the largest "
            f"difference of a logit is {found['gap']['max']:.3g}, the mean "
            f"{found['gap']['mean']:.3g}. Prompt ids and stop ids are the same."
        )
    if not found["passed"]:
        lines.append(f"\n**It did not pass:** {'; '.join(found['problems'])}.")
    return "\n".join(lines)


def data(ledger: dict) -> str:
    """The account of rows, their lengths and, where answers are labels, how often each occurs."""
    if not ledger:
        return ""
    rows = {"read": f"{ledger['read']:,}", "trained": f"{ledger['trained']:,}"}
    for name, words in (
        ("validation", "kept for validation"), ("truncated", "cut to fit"),
        ("duplicates", "stand in it more than once"), ("tokens", "tokens trained on"),
    ):  # fmt: skip
        if ledger.get(name):
            rows[words] = f"{ledger[name]:,}"
    for what in ("dropped", "skipped"):
        for reason, count in reasons_of(ledger.get(what)).items():
            rows[f"{what}: {reason}"] = f"{count:,}"
    if lengths := ledger.get("lengths"):
        spread = "median {median:,}, 95 % at most {p95:,}, longest {longest:,}"
        rows["tokens a row"] = spread.format(**lengths)
    labels = ledger.get("answers") or {}
    shares = {f"`{k}`": n for k, n in list(labels.items())[:LABELS]}
    return "\n\n".join(
        filter(None, [table("Data", "account", "rows", rows), table("", "answer", "rows", shares)])
    )


def reasons_of(counts) -> dict:
    """{reason: rows}; runs of an older version have a list of rows, or a number."""
    if isinstance(counts, dict):
        return counts
    number = len(counts) if isinstance(counts, list) else counts or 0
    return {"faulty rows": number} if number else {}


def training(facts: dict) -> str:
    """Options (the main ones, and those that are not the default), figures, and the curve; '' for
    what other tools trained."""
    if not facts["data"]:
        return ""
    defaults, options = facts.get("defaults", {}), facts["options"]
    told = {name: options[name] for name in MAIN if options.get(name) is not None}
    for name, value in options.items():
        differs = name not in defaults or shown(value) != shown(defaults[name])
        if name not in NOBODYS and value not in (None, "", [], ()) and differs:
            told.setdefault(name, value)
    sections = [table("Training", "option", "value", told)]
    figures = {k: v for k, v in facts["metrics"].items() if k != "plugin_seconds"}
    sections.append(table("", "figure", "value", figures))
    curve = facts.get("curve", [])
    if facts.get("picture"):
        sections.append(f"![Loss by step]({facts['picture']})")
    elif curve:
        steps = [curve[len(curve) * n // CURVE] for n in range(min(CURVE, len(curve)))]
        steps = list({point["step"]: point for point in [*steps, curve[-1]]}.values())
        rows = {point["step"]: shown(point.get("loss", point.get("eval_loss"))) for point in steps}
        sections.append(table("", "step", "loss", rows))
    return "\n\n".join(section for section in sections if section)


def table(title: str, name: str, value: str, rows: dict) -> str:
    """A Markdown table, with a heading where there is a title; '' without rows."""
    if not rows:
        return ""
    lines = [f"## {title}", ""] if title else []
    lines += [f"| {name} | {value} |", "|---|---|"]
    return "\n".join(lines + [f"| {cell(key)} | {cell(shown(rows[key]))} |" for key in rows])


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
