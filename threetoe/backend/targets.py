"""Which layers of a base get an adapter: those of --target-modules, checked before it loads."""

from dataclasses import replace

from threetoe.backend.sizes import linears_of
from threetoe.errors import UserError, did_you_mean
from threetoe.options.lora import ALL_LINEAR, SEVEN_PROJECTIONS
from threetoe.prompt.new_tokens import WHOLE


def choose_targets(config):
    """The configuration with the layers of --target-modules by name; UserError for one that the
    base does not have."""
    asked = config.target_modules
    if asked == SEVEN_PROJECTIONS:
        return config
    linear = list(dict.fromkeys(one.name.rpartition(".")[2] for one in linears_of(config.model)))
    if asked == (ALL_LINEAR,):
        return replace(config, target_modules=tuple(linear))
    known = [*linear, *sorted(WHOLE)]
    for name in asked:
        if name not in known:
            raise UserError(
                f"--target-modules {name}: {config.model} has no layer of that name."
                f"{did_you_mean(name, known)} It has {', '.join(known)}, or all with {ALL_LINEAR}."
            )
    return config
