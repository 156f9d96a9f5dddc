"""A run's base model: its name checked, its weights found; no model is loaded here."""

from dataclasses import replace
from pathlib import Path

from threetoe.backend.adapter import is_adapter, read_config
from threetoe.backend.checkpoint import list_checkpoint, read_base_config
from threetoe.backend.model import GPU_MODEL, TINY, locate
from threetoe.backend.precision import choose_precision
from threetoe.backend.sizes import check_adapter_fits, check_shapes
from threetoe.backend.tokenizer_file import check_same_ids
from threetoe.errors import UserError, did_you_mean
from threetoe.machine.hub import endpoint, gives_a_sign, is_hub_id

PREQUANTISED = ("-unsloth-bnb-4bit", "-bnb-4bit")  # suffixes of Unsloth's repositories


def check_model(model: str | None, flag: str = "--model") -> None:
    """UserError unless this is a folder with a model, a Hub id, or `tiny`."""
    if model in (None, TINY):
        return
    path = Path(model).expanduser()
    if path.is_dir():
        if is_adapter(path):  # of an export that is whole weights, a run.json is kept too
            raise UserError(
                f"{flag} {model} is the folder of a run, not a base: --run {model} asks or exports "
                "it, and every training begins at a base."
            )
        if not (path / "config.json").is_file():
            raise UserError(f"{flag} {model}: the folder holds no config.json.")
        read_base_config(path)
        check_shapes(model, list_checkpoint(path))  # whole, and safetensors
    elif model.count("/") != 1 or model.startswith((".", "/", "~")):
        raise UserError(
            f"{flag} {model}: no such folder, and a Hub id looks like {GPU_MODEL}."
            f"{did_you_mean(model, [TINY])}"
        )


def check_obtainable(model: str | None, flag: str) -> None:
    """UserError for a Hub id that is not in the cache while the Hub gives no sign; asked before
    anything slow is imported."""
    if not model or not is_hub_id(model):
        return
    from huggingface_hub import constants, try_to_load_from_cache

    if isinstance(try_to_load_from_cache(model, "config.json"), str):
        return
    if constants.is_offline_mode() or not gives_a_sign(endpoint()):
        why = "HF_HUB_OFFLINE is set" if constants.is_offline_mode() else "it gives no sign"
        raise UserError(
            f"{model} is not on this machine, and the Hub at {endpoint()} cannot be asked: {why}. "
            f"Name a local folder with {flag}."
        )


def check_is_there(model: str, folder: Path, flag: str) -> None:
    """UserError when the base of a run is a path, and there is nothing at it."""
    if is_gone(model):
        raise UserError(
            f"The base of --run {folder} was in {model}, where it is not any more: name its "
            f"folder, or a Hub id, with {flag}."
        )


def check_base_fits(folder: Path, model: str, named: bool) -> None:
    """UserError where an adapter is of another base; one that is `named` may have other tokens."""
    check_adapter_fits(folder, model, named)
    if named:
        check_same_ids(folder, model)


def is_gone(model: str) -> bool:
    is_path = Path(model).is_absolute() or model.startswith((".", "~")) or model.count("/") > 1
    return is_path and not Path(model).expanduser().is_dir()


def find_base(folder: Path, flag: str) -> str:
    """The base that an adapter's config names; a merged model's folder is its own."""
    if not is_adapter(folder):
        return str(folder)
    name = read_config(folder).get("base_model_name_or_path")
    if not name:
        raise UserError(f"--run {folder}: its adapter_config.json names no base; use {flag}.")
    return name


def resolve_precision(config) -> tuple:
    """The configuration with load_in_4bit decided, the precision in words, and with what chooses
    another."""
    stored = is_prequantised(config.model)
    chosen = choose_precision(config.model, config.load_in_4bit, stored)
    line = f"{chosen.said}; {chosen.flag}" if chosen.flag else chosen.said
    return replace(config, load_in_4bit=chosen.in_4bit), chosen.said, line


def is_prequantised(model: str) -> bool:
    """Whether a base's own weights have 4 bits: by its name, or by the config in its folder."""
    folder = Path(locate(model))
    stored = read_base_config(folder) if (folder / "config.json").is_file() else {}
    return model.endswith(PREQUANTISED) or "quantization_config" in stored
