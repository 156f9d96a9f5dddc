"""The options of a recipe: what can be wrong with them, and the values that are chosen."""

import re
from collections.abc import Iterable, Iterator

from threetoe.errors import UserError, did_you_mean

OPTION = ("default", "choices", "unlike")
SUCH = "{lang: {default: en, choices: [en, zh]}}"
Problems = Iterator[tuple[tuple, str]]  # (place, problem), the place as keys from the top


def option_problems(value, key: str) -> Problems:
    if not isinstance(value, dict):
        yield (), f"'{key}' is {kind_of(value)}, not a mapping such as {SUCH}."
        return
    for name, option in value.items():
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z]\w*", name):
            yield (name,), f"options: '{name}' is no name for an option; take letters."
        elif not isinstance(option, dict):
            yield (name,), f"options: '{name}' is {kind_of(option)}; it has a line 'default: ...'."
        else:
            for place, problem in one_option(name, option, value):
                yield (name, *place), f"options: {problem}"


def one_option(name: str, option: dict, options: dict) -> Problems:
    for key in option:
        if key not in OPTION:
            hint = did_you_mean(key, OPTION)
            yield (key,), f"unknown key '{key}'.{hint} Known: {', '.join(OPTION)}."
    default, found = option.get("default"), option.get("choices")
    if not isinstance(default, (str, int)) or isinstance(default, bool):
        yield (), f"'{name}' has no 'default' that is a text or a whole number."
    if "unlike" in option and option["unlike"] not in [o for o in options if o != name]:
        yield ("unlike",), f"'unlike' of '{name}' names no other option."
    if found is None:
        return
    if not isinstance(found, (list, dict)) or not all(isinstance(c, str) for c in found):
        yield ("choices",), f"the choices of '{name}' are not all texts; put them in quotes."
    elif default not in found:
        yield ("default",), f"the default of '{name}' is no choice.{did_you_mean(default, found)}"
    for choice, over in found.items() if isinstance(found, dict) else ():
        if not isinstance(over, (str, dict, type(None))):
            yield ("choices", choice), f"'{choice}' is {kind_of(over)}, not a name or a mapping."


def kind_of(value) -> str:
    kinds = {dict: "a mapping", list: "a list", type(None): "nothing", bool: "a truth value"}
    kinds |= {int: "a number", float: "a number", str: "a text"}
    return kinds.get(type(value), type(value).__name__)


def choices_of(option: dict) -> dict:
    """{choice: its name, what it lays over the recipe, or None}; {} where anything goes."""
    choices = option.get("choices") or {}
    return choices if isinstance(choices, dict) else dict.fromkeys(choices)


def choose(name: str, options: dict, given: Iterable[tuple[str, str]]) -> dict[str, str]:
    """{option: value}, with defaults; UserError for what is no option or no choice."""
    chosen, problems = {option: str(o["default"]) for option, o in options.items()}, []
    for option, value in given:
        asked = f"--dataset-option {option}={value}"
        if option not in options:
            theirs = f" Its options: {', '.join(options)}." if options else " It has none."
            hint = did_you_mean(option, options)
            problems.append(f"{asked}: '{name}' has no such option.{hint}{theirs}")
            continue
        choices = choices_of(options[option])
        if choices and value not in choices:
            hint = did_you_mean(value, choices)
            problems.append(
                f"{asked}: '{value}' is no choice.{hint} Choices: {', '.join(choices)}."
            )
        elif isinstance(options[option]["default"], int) and not re.fullmatch("[0-9]{1,9}", value):
            problems.append(f"{asked}: '{value}' is not a whole number.")
        chosen[option] = value
    for option, other in ((o, options[o].get("unlike")) for o in options):
        if other and chosen[option] == chosen[other] and not problems:
            problems.append(
                f"{option}={chosen[option]} and {other}={chosen[other]} are the same; give one of "
                f"them another value: --dataset-option {option}=... or {other}=..."
            )
    if problems:
        raise UserError(*problems)
    return chosen


def texts_of(options: dict, chosen: dict[str, str]) -> dict[str, str]:
    """What stands for {option} and {option.name}."""
    names = {
        f"{option}.name": name
        for option, value in chosen.items()
        if isinstance(name := choices_of(options[option]).get(value), str)
    }
    return chosen | names
