"""--init-adapter: a training goes on from an adapter, its shape taken and its weights put in."""

from dataclasses import replace
from pathlib import Path

from threetoe.backend.adapter import CONFIG, WEIGHTS, check_adapter, is_adapter, read_config
from threetoe.errors import UserError, first_line
from threetoe.machine.hub import is_hub_id, look_up

SHAPE = {  # option: as adapter_config.json has it
    "lora_r": "r",
    "lora_alpha": "lora_alpha",
    "use_rslora": "use_rslora",
    "use_dora": "use_dora",
    "target_modules": "target_modules",
    "modules_to_save": "modules_to_save",
}
BEYOND = """
    rank_pattern alpha_pattern layers_to_transform exclude_modules trainable_token_indices
    fan_in_fan_out
""".split()  # what the options cannot say


def settle(config):
    """The configuration with base and shape of its --init-adapter; UserError where flags say
    otherwise, or the adapter is of a shape that they cannot name."""
    if not config.init_adapter:
        return config
    folder, asked = find(config.init_adapter), f"--init-adapter {config.init_adapter}"
    if not is_adapter(folder):
        raise UserError(f"{asked} is no adapter: it has no {CONFIG}.")
    check_adapter(folder)
    values = read_config(folder)
    strange = [name for name in BEYOND if values.get(name)]
    if strange or values.get("peft_type") != "LORA" or values.get("bias", "none") != "none":
        what = strange[0] if strange else "more than LoRA"
        raise UserError(f"{asked} has {what}: merge it, and train on that with --model.")
    changes, usual = {}, type(config)()
    for option, name in SHAPE.items():
        own = values.get(name) or getattr(usual, option)
        own = tuple(sorted(own)) if isinstance(own, list) else own
        given = getattr(config, option)
        if given != getattr(usual, option) and in_order(given) != in_order(own):
            flag = "--" + option.replace("_", "-")
            raise UserError(f"{asked} has {name} {own}, and {flag} says {given}; leave that out.")
        changes[option] = own
    return replace(config, model=config.model or values["base_model_name_or_path"], **changes)


def in_order(value):
    return sorted(value) if isinstance(value, tuple) else value


def find(adapter: str) -> Path:
    """The folder of an adapter, of a Hub id that in the cache."""
    if not is_hub_id(adapter):
        return Path(adapter).expanduser()
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(look_up(adapter), allow_patterns=[CONFIG, WEIGHTS]))
    except (OSError, ValueError) as error:
        raise UserError(
            f"--init-adapter {adapter} is no folder, and cannot be had from the Hub: "
            f"{first_line(error)}"
        ) from error


def put_in(model, adapter: str) -> None:
    """Give a fresh adapter the numbers of another one; UserError where that is of another base."""
    from peft import get_peft_model_state_dict, set_peft_model_state_dict
    from safetensors.torch import load_file

    stored = load_file(find(adapter) / WEIGHTS)
    fresh = get_peft_model_state_dict(model, save_embedding_layers=False)
    shapes, wanted = ({n: tuple(t.shape) for n, t in d.items()} for d in (stored, fresh))
    if shapes != wanted:
        name = min(n for n in shapes.keys() | wanted if shapes.get(n) != wanted.get(n))
        raise UserError(
            f"--init-adapter {adapter} is of another base: it has {shapes.get(name, 'no')} "
            f"{name}, and this one takes {wanted.get(name, 'none')}."
        )
    set_peft_model_state_dict(model, stored)
