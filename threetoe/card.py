"""The model card: the README.md that goes to the Hub beside an adapter or a merged model."""

import re
from pathlib import Path, PureWindowsPath

import yaml

ADAPTER, MERGED = "adapter", "merged"
LIBRARY = {ADAPTER: "peft", MERGED: "transformers"}
TAGS = {ADAPTER: ["lora", "unsloth", "threetoe"], MERGED: ["unsloth", "threetoe"]}
LOCAL_BASE = (
    "The base is in a local folder: `base_model_name_or_path` in `adapter_config.json` must name "
    "where it is on your machine."
)
MADE = "Made with Threetoe and [Unsloth](https://github.com/unslothai/unsloth)."
EXPORTED = "Trained with other tools, and exported with Threetoe."
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+", re.ASCII)


def card(run: dict, kind: str, figures: dict | None = None, repo_id: str | None = None) -> str:
    """The text of README.md: metadata for the Hub, then sections for people.

    `run` holds model, template (name, example), options, data (source, read, trained, dropped),
    metrics, packages, and, where it is known, license. `kind` is "adapter" or "merged";
    `figures` are evaluation results by name. Without `repo_id` the code names a local folder.
    """
    sections = [
        metadata(run, kind),
        introduction(run, kind, repo_id),
        prompt(run["template"]),
        usage(run, kind, repo_id),
        table("Training options", "option", "value", run["options"]),
        table("Training", "figure", "value", run["metrics"]),
        table("Data", "data", "value", run["data"]),
        table("Evaluation", "figure", "value", figures or {}),
        table("Versions", "package", "version", run["packages"]),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def metadata(run: dict, kind: str) -> str:
    """The YAML block that the Hub reads; a base that is a local folder stays out of it."""
    fields = {
        "base_model": run["model"] if on_hub(run["model"]) else None,
        "license": run.get("license"),
        "library_name": LIBRARY[kind],
        "pipeline_tag": "text-generation",
        "tags": TAGS[kind],
    }
    known = {name: value for name, value in fields.items() if value}
    return f"---\n{yaml.safe_dump(known, sort_keys=False, allow_unicode=True)}---"


def on_hub(model: str) -> bool:
    """Whether `model` is a Hub id; a folder of that name comes first, as it does for loading."""
    return bool(HUB_ID.fullmatch(model)) and not Path(model).exists()


def base(run: dict) -> str:
    if on_hub(run["model"]):
        return f"[{run['model']}](https://huggingface.co/{run['model']})"
    return f"`{PureWindowsPath(run['model']).name}`, a model in a local folder"


def introduction(run: dict, kind: str, repo_id: str | None) -> str:
    what = {
        ADAPTER: "A LoRA adapter: the weights that fine-tuning learned, to be loaded on its base.",
        MERGED: "A fine-tuned model: its base with the learned LoRA weights merged in, 16 bit.",
    }
    title = (repo_id or f"{run['model']} {kind}").split("/")[-1]
    data = run["data"]
    trained_on = f"`{shown(data['source'])}`, {data['trained']} examples" if data else "unknown"
    return f"""# {title}

{what[kind]}

- Base model: {base(run)}
- Trained on: {trained_on}
- Prompt template: `{run["template"]["name"]}`, saved with the tokenizer as its chat template

{MADE if data else EXPORTED}"""


def prompt(template: dict) -> str:
    """The rendered example, fenced longer than any run of backticks inside it."""
    example = template["example"]
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", example)), default=0))
    return f"""## Prompt template

`{template["name"]}`; an example as the model saw it:

{fence}text
{example}
{fence}"""


def usage(run: dict, kind: str, repo_id: str | None) -> str:
    folder = repo_id or "path/to/this/folder"
    needs_base = kind == ADAPTER and not on_hub(run["model"])
    sections = [
        "## How to use it",
        LOCAL_BASE if needs_base else "",
        with_transformers(folder, loading(run, folder, kind)),
        with_unsloth(folder, run["options"], run.get("vocab_size") if kind == ADAPTER else 0),
        with_threetoe(repo_id),
    ]
    return "\n\n".join(section for section in sections if section)


def loading(run: dict, folder: str, kind: str) -> tuple[str, str]:
    """The import that loading takes, and the call; PEFT cannot make a base larger by itself."""
    load = "model = AutoModelForCausalLM.from_pretrained"
    if kind == MERGED:
        return "", f'{load}("{folder}", dtype="auto")'
    if not run.get("vocab_size"):
        peft = "import peft  # transformers needs it to load an adapter\n"
        return peft, f'{load}("{folder}", dtype="auto")'
    base = run["model"] if on_hub(run["model"]) else "path/to/the/base"
    return "from peft import PeftModel\n", (
        f'{load}("{base}", dtype="auto")\n'
        f"model.resize_token_embeddings({run['vocab_size']})  # training added tokens\n"
        f'model = PeftModel.from_pretrained(model, "{folder}")'
    )


def with_transformers(folder: str, loading: tuple[str, str]) -> str:
    peft, model = loading
    return f"""With transformers:

```python
{peft}from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{folder}")
{model}
messages = [{{"role": "user", "content": "Hello!"}}]
inputs = tokenizer.apply_chat_template(
    messages, add_generation_prompt=True, return_dict=True, return_tensors="pt"
)
output = model.generate(**inputs.to(model.device), max_new_tokens=256)
print(tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
```"""


def with_unsloth(folder: str, options: dict, vocab_size: int) -> str:
    larger = f", resize_model_vocab={vocab_size}" if vocab_size else ""
    length, load_in_4bit = options.get("max_seq_length", 2048), options["load_in_4bit"]
    return f"""With Unsloth, loaded like this and then as above:

```python
from unsloth import FastLanguageModel

model, tokenizer = FastLanguageModel.from_pretrained(
    "{folder}", max_seq_length={length}, load_in_4bit={load_in_4bit}{larger}
)
FastLanguageModel.for_inference(model)
```"""


def with_threetoe(repo_id: str | None) -> str:
    folder = repo_id.split("/")[-1] if repo_id else "path/to/this/folder"
    download = f"hf download {repo_id} --local-dir {folder}\n" if repo_id else ""
    return f"""With Threetoe:

```sh
{download}python infer.py --run {folder} "Hello!"
```"""


def table(title: str, name: str, value: str, rows: dict) -> str:
    """A Markdown section with a table, or '' without rows."""
    if not rows:
        return ""
    lines = [f"## {title}", "", f"| {name} | {value} |", "|---|---|"]
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
