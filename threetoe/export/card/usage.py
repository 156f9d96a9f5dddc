"""How to use an export, for its card: code for each tool that loads it, and no other."""

import re

from threetoe.export.card.metadata import ADAPTER, FOUR_BIT, GGUF, MERGED, OLLAMA, on_hub

LOCAL_BASE = (
    "The base is in a local folder: `base_model_name_or_path` in `adapter_config.json` must name "
    "where it is on your machine."
)
HERE = "path/to/this/folder"
GGUF_TYPE = re.compile(r"(?i)(?:^|[-._])((?:i?q\d\w*)|bf16|f16|f32)\.gguf$")


def usage(facts: dict, kind: str, repo_id: str | None) -> str:
    sections = ["## How to use it"]
    if kind in (GGUF, OLLAMA):
        sections += [with_ollama_gguf(facts, kind, repo_id), with_llamacpp(facts, repo_id)]
        sections.append(
            "transformers, Unsloth and vLLM load the adapter or the merged model: "
            "`python export.py --merged DIR` writes that one."
        )
    else:
        folder = repo_id or HERE
        needs_base = kind == ADAPTER and not on_hub(facts["model"])
        sections.append(LOCAL_BASE if needs_base else "")
        sections.append(with_transformers(folder, loading(facts, folder, kind)))
        added = facts.get("vocab_size") if kind == ADAPTER else 0
        sections.append(with_unsloth(folder, facts["options"], kind, added))
        sections.append(with_vllm(facts, folder, kind))
        sections.append(with_ollama(facts, kind, repo_id))
        sections.append(with_threetoe(repo_id) if kind in (ADAPTER, MERGED) else "")
    return "\n\n".join(section for section in sections if section)


def loading(facts: dict, folder: str, kind: str) -> tuple[str, str]:
    """The import that loading takes, and the call; PEFT cannot make a base larger by itself."""
    load = "model = AutoModelForCausalLM.from_pretrained"
    if kind != ADAPTER:
        needs = "" if kind == MERGED else "# pip install bitsandbytes accelerate\n"
        return needs, f'{load}("{folder}", dtype="auto")'
    if not facts.get("vocab_size"):
        peft = "import peft  # transformers needs it to load an adapter\n"
        return peft, f'{load}("{folder}", dtype="auto")'
    return "from peft import PeftModel\n", (
        f'{load}("{base_of(facts)}", dtype="auto")\n'
        f"model.resize_token_embeddings({facts['vocab_size']})  # training added tokens\n"
        f'model = PeftModel.from_pretrained(model, "{folder}")'
    )


def base_of(facts: dict) -> str:
    return facts["model"] if on_hub(facts["model"]) else "path/to/the/base"


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


def with_unsloth(folder: str, options: dict, kind: str, vocab_size: int) -> str:
    larger = f", resize_model_vocab={vocab_size}" if vocab_size else ""
    length = options.get("max_seq_length", 2048)
    in_4bit = kind == FOUR_BIT or (kind == ADAPTER and options["load_in_4bit"])
    return f"""With Unsloth, loaded like this and then as above:

```python
from unsloth import FastLanguageModel

model, tokenizer = FastLanguageModel.from_pretrained(
    "{folder}", max_seq_length={length}, load_in_4bit={in_4bit}{larger}
)
FastLanguageModel.for_inference(model)
```"""


def with_vllm(facts: dict, folder: str, kind: str) -> str:
    """vLLM serves an adapter beside its base; it cannot make the base's vocabulary larger."""
    serve = f"vllm serve {folder}"
    if kind == ADAPTER:
        if facts.get("vocab_size"):
            return (
                "With vLLM: training added tokens, so an adapter is not enough there; serve the "
                "merged model (`python export.py --merged DIR`)."
            )
        name = "my-adapter" if folder == HERE else folder.split("/")[-1]
        rank = max_rank(facts["options"].get("lora_r", 16))
        serve = (
            f"vllm serve {base_of(facts)} --enable-lora --max-lora-rank {rank} \\\n"
            f"    --lora-modules {name}={folder} --tokenizer {folder}"
        )
    return f"""With vLLM, an OpenAI-compatible server:

```sh
{serve}
```"""


def max_rank(rank: int) -> int:
    """The smallest rank that vLLM has room for: 8, 16, 32, 64, 128, 256, 320 or 512."""
    return next((room for room in (8, 16, 32, 64, 128, 256, 320, 512) if rank <= room), rank)


def with_ollama(facts: dict, kind: str, repo_id: str | None) -> str:
    """Ollama imports 16-bit safetensors by their Modelfile, and GGUF; nothing else."""
    folder, download = local(repo_id)
    if kind == MERGED and facts.get("modelfile", True):
        return f"""With Ollama:

```sh
{download}ollama create {name_for(folder)} -f {folder}/Modelfile
ollama run {name_for(folder)}
```"""
    if kind != ADAPTER:
        return ""
    return f"""With Ollama, which takes a GGUF file; Threetoe writes one with its Modelfile:

```sh
{download}python export.py --run {folder} --ollama {folder}-ollama
ollama create {name_for(folder)} -f {folder}-ollama/Modelfile
```"""


def with_ollama_gguf(facts: dict, kind: str, repo_id: str | None) -> str:
    folder, download = local(repo_id)
    files = facts.get("gguf") or ["model.gguf"]
    if repo_id and kind == GGUF:
        kinds = [GGUF_TYPE.search(file) for file in files]
        lines = [f"ollama run hf.co/{repo_id}:{found[1].upper()}" for found in kinds if found]
        code = "\n".join(lines or [f"ollama run hf.co/{repo_id}"])
    elif facts.get("modelfile"):
        code = f"{download}ollama create {name_for(folder)} -f {folder}/Modelfile"
        code += f"\nollama run {name_for(folder)}"
    else:
        code = f"echo 'FROM {folder}/{files[0]}' > Modelfile\n"
        code += f"ollama create {name_for(folder)} -f Modelfile"
    return f"With Ollama:\n\n```sh\n{code}\n```"


def with_llamacpp(facts: dict, repo_id: str | None) -> str:
    file = (facts.get("gguf") or ["model.gguf"])[0]
    source = f"--hf-repo {repo_id} --hf-file {file}" if repo_id else f"-m {HERE}/{file}"
    return f"With llama.cpp:\n\n```sh\nllama-server {source} --jinja\n```"


def with_threetoe(repo_id: str | None) -> str:
    folder, download = local(repo_id)
    return f"""With Threetoe:

```sh
{download}python infer.py --run {folder} "Hello!"
```"""


def local(repo_id: str | None) -> tuple[str, str]:
    """The folder that commands name, and the line that downloads it, '' for one that is here."""
    if not repo_id:
        return HERE, ""
    folder = repo_id.split("/")[-1]
    return folder, f"hf download {repo_id} --local-dir {folder}\n"


def name_for(folder: str) -> str:
    """A name that Ollama takes."""
    return "my-model" if folder == HERE else re.sub(r"[^a-z0-9._-]", "-", folder.lower())
