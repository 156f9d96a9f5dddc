"""The words of a command line: those that click can parse, and what is wrong with the others."""

import os
from pathlib import Path

import click

from threetoe.errors import TOKEN, TYPED_TOKEN
from threetoe.options.foreign import explain
from threetoe.options.types import find_fault_in_text

FILES = (".json", ".jsonl", ".csv", ".tsv", ".parquet", ".yaml", ".yml", ".py")
RECORDS = ("run.json", "adapter_config.json")  # of a run's folder, or of another tool's adapter


def kept_words(options: list[click.Option], words: list[str], problems: list[str]) -> list[str]:
    """The words that click can parse; the others are problems: options that do not exist, that
    lack their value or have one too many, and those that are given twice and take one value."""
    by_flag = {flag: param for param in options for flag in (*param.opts, *param.secondary_opts)}
    kept, left, seen = [], list(words), {}
    if any(TOKEN.fullmatch(word.partition("=")[2] or word) for word in words):
        problems.append(TYPED_TOKEN)
    while left and left[0] != "--":
        word = left.pop(0)
        flag, equals, value = word.partition("=")
        if word == "-" or not word.startswith("-"):
            kept.append(word)  # what takes it says what is wrong with it
            continue
        flag = dashed(flag)
        param = by_flag.get(flag)
        follows = (
            bool(left) and left[0] != "--" and dashed(left[0].partition("=")[0]) not in by_flag
        )
        if param is None:
            problems.append(no_option(flag, by_flag))
            if follows and not equals and not left[0].startswith("--"):
                left.pop(0)
        elif param.is_flag and equals:
            problems.append(f"{flag} takes no value; write {flag} alone.")
        elif param.is_flag:
            kept.append(flag)
        elif not equals and not follows:
            problems.append(f"{flag} needs a value.")
        else:
            value = value if equals else left.pop(0)
            if is_good(value, flag, problems) and is_new(param, flag, value, seen, problems):
                kept += [flag, value]
    return kept + [word for word in left if is_good(word, word, problems)]


def dashed(flag: str) -> str:
    """--lora_r is --lora-r, as for the parsers of transformers and TRL."""
    return flag.replace("_", "-") if flag.startswith("--") else flag


def is_good(value: str, flag: str, problems: list[str]) -> bool:
    """Whether a value can be one."""
    fault = find_fault_in_text(value)
    if fault:
        problems.append(f"{fault}." if value == flag else f"{flag}: {fault}.")
    return fault is None


def is_new(param, flag: str, value: str, seen: dict, problems: list[str]) -> bool:
    """Whether an option may be given now: once, unless it takes several values."""
    again = param in seen and not param.multiple
    if again:
        problems.append(f"{flag} is given twice, {seen[param]} and {value}; it takes one value.")
    seen[param] = value
    return not again


def no_option(flag: str, known) -> str:
    if flag.strip("-") in ("token", "hf-token", "hub-token"):
        return f"There is no {flag}: the token is read from HF_TOKEN, or from the saved login."
    if " " in flag:
        return f"'{flag}' starts with '-', as an option does; put -- before such a text."
    return f"No such option: {flag}." + explain(flag.strip("-"), [k.strip("-") for k in known])


def is_run(word: str) -> bool:
    """Whether a word is the name of a folder that train.py, or another tool, has left."""
    return any(os.path.isfile(os.path.join(word, name)) for name in RECORDS)


def explain_place(word: str, flags) -> str | None:
    """What to say of a word that is the name of a folder or file, or looks like one, and so a
    mistake where a text is expected; None for any other."""
    path = Path(word)
    there = word.strip() and len(word) < 256 and os.path.lexists(path)
    if not there and (" " in word or path.suffix not in FILES):
        return None
    if is_run(word):
        flag, what = "--run", "the folder of a run"
    elif path.is_dir():
        flag, what = "--dataset", "a folder"
    else:
        endings = {".py": "--plugin", ".yaml": "--config", ".yml": "--config"}
        flag, what = endings.get(path.suffix, "--dataset"), "a file"
    if flag == "--dataset" and "--file" in flags:
        flag = "--file"
    if flag not in flags:
        return f"'{word}' is {what}, and no flag stands before it."
    return f"'{word}' is {what}; name it with {flag} {word}."
