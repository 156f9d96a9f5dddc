"""The export format `ollama16`: safetensors for `ollama create`, commands in README.md.

python export.py --format ollama16=my-ollama --plugin plugins/ollama_folder.py --set context=4096
"""

from dataclasses import dataclass

from threetoe.api import write_merged


@dataclass(frozen=True)
class Settings:
    context: int = 2048  # tokens that Ollama keeps of a conversation
    temperature: float = 0.0


def register_exporters(settings):
    return {"ollama16": lambda run, folder, config: _write(run, folder, config, settings)}


def _write(run, folder, config, settings):
    text = run.the_template().modelfile(run.the_marks(), source="./weights")
    weights = folder / "weights"
    weights.mkdir()
    write_merged(run, weights, config)
    (weights / "Modelfile").unlink()
    text += f"PARAMETER num_ctx {settings.context}\nPARAMETER temperature {settings.temperature}\n"
    (folder / "Modelfile").write_text(text, encoding="utf-8", newline="\n")
    (folder / "README.md").write_text(
        "In this folder:\n\n```sh\nollama create my-model -f Modelfile\nollama run my-model\n```\n",
        encoding="utf-8",
    )
