"""Reads rows of datasets on the Hub, and of folders that Hugging Face's datasets made.

No code that comes with a dataset is run: datasets 4 has no way to, and none is asked for.
"""

import ast
import logging
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from threetoe.data.sources.parquet_rows import BATCH, rows_of_batch
from threetoe.errors import UserError, did_you_mean, first_line
from threetoe.machine.hub import look_up

CHOICES = re.compile(r"(?:Should be one of|Available(?: splits)?:|available configs:) (\[.*\])")
SHOWN = 20  # names of subsets
COPY = "hf download --repo-type dataset {} --local-dir FOLDER writes one for --dataset FOLDER"


def read_hub(source) -> Iterator:
    """The rows of a Source that is a Hub id or a folder downloaded from there; UserError when it
    has none."""
    datasets = quiet_datasets()
    name, subset, split, streaming = source.name, source.subset, source.split, source.streaming
    fresh = {}
    if Path(name).is_dir():  # of a folder datasets keeps a copy, and takes it for a changed one
        streaming = "[" not in split  # which is a part of a split, and cannot be streamed
        fresh = {} if streaming else {"download_mode": "force_redownload"}
    look_up(name)
    try:
        found = datasets.load_dataset(name, subset, split=split, streaming=streaming, **fresh)
    except Exception as error:  # datasets raises many kinds: offline, missing, no such split
        raise cannot_read(name, split, subset, error) from error
    return rows_of_dataset(found, name, split)


def quiet_datasets():
    """The datasets library, its bars and notices off."""
    import datasets
    import huggingface_hub

    datasets.disable_progress_bars()
    huggingface_hub.utils.disable_progress_bars()
    datasets.logging.set_verbosity_error()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    return datasets


def is_saved(folder: Path) -> bool:
    """Whether datasets' save_to_disk wrote this folder."""
    return any((folder / name).is_file() for name in ("dataset_dict.json", "state.json"))


def read_saved(folder: Path, split: str) -> Iterator:
    """The rows of a folder written by save_to_disk."""
    datasets = quiet_datasets()
    try:
        found = datasets.load_from_disk(str(folder))
    except Exception as error:  # Arrow's and datasets' own kinds
        raise cannot_read(str(folder), split, None, error) from error
    if isinstance(found, dict):
        if split not in found:
            raise UserError(f"The folder {folder} {no_such('split', split, list(found))}")
        found = found[split]
    return rows_of_dataset(found, str(folder), split)


def has_configs(folder: Path) -> bool:
    """Whether a README.md says which files are which subset and split, as on the Hub."""
    card = folder / "README.md"
    if not card.is_file():
        return False
    head = card.read_text(encoding="utf-8", errors="replace").split("\n---", 1)[0]
    return head.startswith("---") and re.search(r"^configs:", head, re.MULTILINE) is not None


def rows_of_dataset(found, source: str, split: str) -> Iterator:
    """The rows with their numbers, from Arrow: images and sounds stay the bytes that they are.

    Only columns of datasets' Json type, which are texts in Arrow, need to be decoded.
    """
    name, number, rows = f"{source}[{split}]", 0, found
    if "Json(" not in str(found.features):
        rows = chain.from_iterable(map(rows_of_batch, found.with_format("arrow").iter(BATCH)))
    try:
        for number, row in enumerate(rows, 1):
            yield f"{name}: row {number}", row
    except Exception as error:  # the network's, Arrow's and datasets' own kinds
        raise UserError(f"{name}: reading stops after row {number}: {reason(error)}.") from error
    if not number:
        raise UserError(f"{name} is empty: it holds no rows.")


def cannot_read(source: str, split: str, subset: str | None, error: Exception) -> UserError:
    """One line on what datasets raised: the splits or subsets there are, or how to do without."""
    is_folder = Path(source).is_dir()
    begins = (
        f"The folder {source} cannot be read: "
        if is_folder
        else f"The dataset '{source}' is no file here and cannot be read from the Hub: "
    )
    choices = CHOICES.search(str(error))
    if choices:
        names = [str(name) for name in ast.literal_eval(choices[1])]
        of_split = "split" in first_line(error).lower()
        what, asked = ("split", split) if of_split else ("subset", subset)
        return UserError(begins + "it " + no_such(what, asked, names))
    ends = "" if is_folder else f" Give a local copy: {COPY.format(source)}."
    login = "; log in with hf auth login" * ("gated" in str(error))
    return UserError(f"{begins}{reason(error)}{login}.{ends}")


def no_such(what: str, asked: str | None, names: list[str]) -> str:
    """'has no split 'x'. It has: train, test (--dataset-split).'"""
    shown = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" * (len(names) > SHOWN))
    if asked is None:
        return f"has several {what}s, choose one with --dataset-{what}: {shown}."
    return f"has no {what} '{asked}'.{did_you_mean(asked, names)} It has {shown}: --dataset-{what}."


def reason(error: Exception) -> str:
    """What was raised in one line; datasets wraps what is wrong with a file in a general error."""
    wrapped = "while generating the dataset" in str(error) and error.__cause__
    return first_line(wrapped or error).rstrip(".")
