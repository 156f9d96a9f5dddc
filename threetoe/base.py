"""A run's base model: its name checked, its weights found; no model is loaded here."""

import importlib.util
import re
import runpy
from pathlib import Path

from threetoe import backend
from threetoe.config import ExportConfig
from threetoe.errors import UserError, did_you_mean, first_line
from threetoe.run import Run
from threetoe.shards import list_checkpoint, read_json

PREQUANTISED = ("-unsloth-bnb-4bit", "-bnb-4bit")  # suffixes of Unsloth's repositories


def check_model(model: str | None, flag: str = "--model") -> None:
    """UserError unless this is a folder with a model, a Hub id, or `tiny`."""
    if model in (None, backend.TINY):
        return
    path = Path(model).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise UserError(f"{flag} {model}: the folder holds no config.json.")
        list_checkpoint(path)  # whole, and safetensors
    elif model.count("/") != 1 or model.startswith((".", "/", "~")):
        raise UserError(
            f"{flag} {model}: no such folder, and a Hub id looks like {backend.GPU_MODEL}."
            f"{did_you_mean(model, [backend.TINY])}"
        )


def check_is_there(model: str, folder: Path, flag: str) -> None:
    """UserError when the base of a run is a path, and there is nothing at it."""
    is_path = Path(model).is_absolute() or model.startswith((".", "~")) or model.count("/") > 1
    if is_path and not Path(model).expanduser().is_dir():
        raise UserError(
            f"The base of --run {folder} was in {model}, where it is not any more: name its "
            f"folder, or a Hub id, with {flag}."
        )


def base_of(folder: Path, flag: str) -> str:
    """The base that an adapter's config names; a merged model's folder is its own."""
    if not is_adapter(folder):
        return str(folder)
    name = read_json(folder / "adapter_config.json").get("base_model_name_or_path")
    if not name:
        raise UserError(f"--run {folder}: its adapter_config.json names no base; use {flag}.")
    return name


def is_adapter(folder: Path) -> bool:
    return (folder / "adapter_config.json").exists()


def is_prequantised(model: str) -> bool:
    """Whether a base's own weights have 4 bits: by its name, or by the config in its folder."""
    config = Path(backend.location(model), "config.json")
    stored = read_json(config) if config.is_file() else {}
    return model.endswith(PREQUANTISED) or "quantization_config" in stored


def dequantizes(run: Run, config: ExportConfig) -> bool:
    """Whether to round a base's 16-bit weights as quantising while loading did, to what the
    adapter was trained on. A base that is stored in 4 bits is expanded in any case."""
    base = config.base or run.options["model"]
    asked, four = config.base_weights, is_prequantised(base)
    if asked == "dequantized" and not (four or run.options["load_in_4bit"]):
        raise UserError(
            f"--base-weights dequantized: the base {base} was not quantised while loading; choose "
            "16bit."
        )
    if asked == "16bit" and config.base and four:
        raise UserError(f"--base-weights 16bit: --base {base} is stored in 4 bits.")
    if four or not run.options["load_in_4bit"]:
        return False
    own = not is_prequantised(run.options["model"])  # else --base names another base
    return asked == "dequantized" or (own and asked is None)


def original_of(model: str) -> str:
    """The 16-bit model of which a 4-bit one was made: by Unsloth's table, its name, or the
    base_model of its own README.md. UserError when none of them says."""
    if name := unsloth_table().get(model.lower()):
        return name
    for suffix in PREQUANTISED:
        if model.endswith(suffix):
            return model.removesuffix(suffix)
    readme = Path(backend.location(model), "README.md")
    text = readme.read_text(encoding="utf-8") if readme.is_file() else ""
    if found := re.search(r"\A---\n(?:.*\n)*?base_model:\s*(?:-\s*)?(\S+)", text):
        return found[1].strip("'\"")
    raise UserError(
        f"--base-weights 16bit: nothing says of which model {model} is the 4-bit copy; name that "
        "one with --base."
    )


def unsloth_table() -> dict[str, str]:
    """Unsloth's names of 4-bit models, in lower case, and of their 16-bit originals; empty where
    Unsloth is not installed. Its one file is read alone: importing Unsloth takes ten seconds."""
    found = importlib.util.find_spec("unsloth")
    if found is None:
        return {}
    table = runpy.run_path(str(Path(found.origin).parent / "models" / "mapper.py"))
    return table["INT_TO_FLOAT_MAPPER"]


def name_of_weights(run: Run, config: ExportConfig) -> str:
    """The folder or Hub id of the weights to merge into: those that the run was trained on, or
    with --base-weights 16bit those of which they were made."""
    name = config.base or run.options["model"]
    if not config.base and config.base_weights == "16bit" and is_prequantised(name):
        return original_of(name)
    return name


def base_weights(run: Run, config: ExportConfig) -> Path:
    """The folder with the base's safetensors, downloaded when it is a Hub id."""
    name = name_of_weights(run, config)
    path = Path(backend.location(name))
    if path.is_dir():
        return path
    from huggingface_hub import snapshot_download

    wanted = ["*.safetensors*", "config.json", "tokenizer.model"]
    try:
        return Path(snapshot_download(name, allow_patterns=wanted))
    except Exception as error:  # the client raises many kinds: offline, missing, gated
        raise UserError(
            f"The base weights {name} cannot be read from the Hub: {first_line(error)} "
            "Give a local folder: --base DIR."
        ) from error
