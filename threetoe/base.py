"""A run's base model: its name checked, its weights found; no model is loaded here."""

from pathlib import Path

from threetoe import backend
from threetoe.config import ExportConfig
from threetoe.errors import UserError, did_you_mean
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
    """Whether to merge into the weights as NF4 had them: what the adapter was trained on."""
    model = run.options["model"]
    quantised_on_loading = run.options["load_in_4bit"] and not is_prequantised(model)
    if config.base_weights == "dequantized" and not quantised_on_loading:
        raise UserError(
            f"--base-weights dequantized: the base {model} was not quantised while loading; choose "
            "16bit."
        )
    return quantised_on_loading and config.base_weights != "16bit"


def base_weights(run: Run, config: ExportConfig) -> Path:
    """The folder with the base's 16-bit safetensors, downloaded when it is a Hub id.

    The 4-bit repositories of Unsloth bear the name of their 16-bit original and -bnb-4bit.
    """
    name = config.base or run.options["model"]
    for suffix in PREQUANTISED:
        name = name.removesuffix(suffix)
    path = Path(backend.location(name))
    if path.is_dir():
        return path
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=["*.safetensors*", "config.json"]))
    except Exception as error:  # the client raises many kinds: offline, missing, gated
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"The base weights {name} cannot be read from the Hub: {reason} "
            "Give a local folder: --base DIR."
        ) from error
