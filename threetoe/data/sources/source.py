"""Reads rows from any source, as a stream; every row knows where it stands: 'my.json:7'.

A row that cannot be read is a fault, an Unusable in its place, and reading goes on behind it.
"""

import atexit
import hashlib
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from threetoe.data.sources import files as folder_rows
from threetoe.data.sources import function_rows, hub_rows
from threetoe.data.sources.csv_rows import TAB
from threetoe.data.sources.files import kind_of, read_file
from threetoe.data.sources.text_file import TextFile
from threetoe.errors import UserError, no_such_file
from threetoe.messages import Unusable

Row = tuple[str, dict | Unusable]
FUNCTION = re.compile(r"(.+\.py)(?::([^:/\\]*))?")  # my.py or my.py:get_foo
NAME = "stdin"


def read_source(
    source: str, split: str, subset: str | None, config, load_tokenizer: Callable
) -> Iterator[Row] | None:
    """The rows of a file, a folder, standard input (-), a function of a .py file, or a Hub id.

    None when it is none of these. `subset` is that of a Hub id or of a folder downloaded from
    the Hub; `config` says encoding, field and streaming; functions that ask for the
    tokenizer get `load_tokenizer()`. UserError when nothing can be read.
    """
    path = Path(source).expanduser()
    check_slice(source, split)
    if source == "-":
        return read_file(spooled(config.encoding, config.field))
    if function := FUNCTION.fullmatch(source):
        return function_rows.function_rows(
            Path(function[1]).expanduser(), function[2], split, config, load_tokenizer
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
        files = [spooled(config.encoding, config.field).path]
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


def spooled(encoding: str, field: str | None) -> TextFile:
    """Standard input as a file, deleted when the program ends; the suffix is that of its kind.

    UserError when nothing is piped in.
    """
    if sys.stdin is None or sys.stdin.closed or sys.stdin.isatty():
        raise UserError(
            "--dataset -: nothing is piped in; write it as in: cat my.jsonl | python train.py "
            "--dataset -"
        )
    path = copy_of(sys.stdin)
    return TextFile(path, NAME, encoding, field, kind_of_text(path, encoding))


@cache
def copy_of(stdin) -> Path:
    with tempfile.NamedTemporaryFile("wb", prefix="threetoe-stdin-", delete=False) as copy:
        path = Path(copy.name)
        atexit.register(path.unlink, missing_ok=True)
        shutil.copyfileobj(stdin.buffer, copy)
    return path


def kind_of_text(path: Path, encoding: str) -> str:
    """The suffix of the kind of file that this is, told from how it begins."""
    file = TextFile(path, NAME, encoding)
    with file.open_bytes() as opened:
        if opened.read(4) == b"PAR1":
            return ".parquet"
    with file.reading(), file.open() as text:
        first = next((line for line in text if line.strip()), "")
    if first.lstrip().startswith(("[", "{")):
        return ".json"  # whose reader knows an object a line, too
    return ".tsv" if TAB in first else ".csv"
