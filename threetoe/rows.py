"""Reads rows from any source, as a stream; every row knows where it stands: 'my.json:7'.

A row that cannot be read is a fault, an Unusable in its place, and reading goes on behind it.
"""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from threetoe import folder_rows, function_rows, hub_rows, stdin_rows
from threetoe.errors import UserError, no_such_file
from threetoe.formats import Unusable
from threetoe.kinds import kind_of, read_file
from threetoe.text_file import TextFile

Row = tuple[str, dict | Unusable]
FUNCTION = re.compile(r"(.+\.py)(?::([^:/\\]*))?")  # my.py or my.py:get_foo


def read_source(source: str, split: str, subset: str | None, config) -> Iterator[Row] | None:
    """The rows of a file, a folder, standard input (-), a function of a .py file, or a Hub id.

    None when it is none of these. `subset` is that of a Hub id or of a folder downloaded from
    the Hub; `config` says encoding, field and streaming. UserError when nothing can be read.
    """
    path = Path(source).expanduser()
    check_slice(source, split)
    if source == "-":
        return read_file(stdin_rows.spooled(config.encoding, config.field))
    if function := FUNCTION.fullmatch(source):
        return function_rows.function_rows(
            Path(function[1]).expanduser(), function[2], split, config, tokenizer_of(config)
        )
    if path.is_dir():
        return read_folder(path, split, subset, config)
    if path.exists():
        return read_file(as_file(path, config))
    is_path = source.startswith((".", "/", "~")) or source.count("/") > 1
    if is_path or kind_of(path):
        raise no_such_file(path)
    return hub_rows.read_hub(source, split, subset, config) if "/" in source else None


def check_slice(source: str, split: str) -> None:
    """UserError for train[:100] of what is read whole."""
    path = Path(source).expanduser()
    is_file = source == "-" or path.is_file() and not FUNCTION.fullmatch(source)
    if "[" in split and (is_file or path.is_dir() and not hub_rows.has_configs(path)):
        raise UserError(
            f"--dataset-split {split}: only splits of the Hub are read in part, {source} is read "
            "whole; --streaming reads what --max-steps takes."
        )


def tokenizer_of(config):
    """A function that loads the model's tokenizer: few functions of rows ask for it.

    Unsloth changes parts of transformers when it is imported, so it must come before, and the
    training that follows imports it anyway.
    """

    def load():
        from threetoe import backend

        backend.prepare()
        return backend.load_tokenizer(config.model or backend.default_model())

    return load


def as_file(path: Path, config) -> TextFile:
    return TextFile(path, str(path), config.encoding, config.field)


def read_folder(path: Path, split: str, subset: str | None, config) -> Iterator[Row]:
    """The rows of a folder's files of the split, or of a folder that datasets made."""
    if hub_rows.is_saved(path):
        return hub_rows.read_saved(path, split)
    if subset and (path / subset).is_dir() and not hub_rows.has_configs(path):
        path = path / subset
    elif subset or hub_rows.has_configs(path):
        return hub_rows.read_hub(str(path), split, subset, config)
    found = folder_rows.files_of_split(path, split)
    return (row for file in found for row in read_file(as_file(file, config)))


def fingerprint(source: str, split: str, subset: str | None, config) -> str | None:
    """A hash of the names, which rows are known by, and the bytes of all files that read_source
    would read; None where only reading tells.

    None for a Hub id, a function, and what is not there.
    """
    path = Path(source).expanduser()
    if source == "-":
        files = [stdin_rows.spooled(config.encoding, config.field).path]
    elif FUNCTION.fullmatch(source) or not path.exists():
        return None
    elif not path.is_dir():
        files = [path]
    elif subset or hub_rows.has_configs(path) or hub_rows.is_saved(path):
        files = [*path.glob("README.md"), *folder_rows.all_files(path)]
    else:
        files = folder_rows.files_of_split(path, split)
    digest = hashlib.sha256()
    for file in files:
        name = "" if source == "-" else file  # the copy of standard input has a new name each time
        with file.open("rb") as opened:
            digest.update(f"{name}\0".encode())
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()
