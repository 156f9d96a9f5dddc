"""Reads rows from any source, as a stream; every row knows where it stands: 'my.json:7'.

A row that cannot be read is a fault, an Unusable in its place, and reading goes on behind it.
"""

import atexit
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from threetoe.data.sources import files, hub_rows
from threetoe.data.sources.csv_rows import TAB
from threetoe.data.sources.function_rows import function_rows
from threetoe.data.sources.text_file import TextFile
from threetoe.errors import UserError, no_such_file
from threetoe.messages import Unusable

Row = tuple[str, dict | Unusable]
FUNCTION = re.compile(r"(.+\.py)(?::([^:/\\]*))?")  # my.py or my.py:get_foo
STDIN = "stdin"


class Source(NamedTuple):
    """Where rows are, and how they are read."""

    name: str  # a file, a folder, - (standard input), my.py:function, or a Hub id
    split: str = "train"
    subset: str | None = None  # of a Hub id, or of a folder downloaded from the Hub
    encoding: str = "utf-8"
    field: str | None = None
    streaming: bool = False

    @property
    def path(self) -> Path:
        return Path(self.name).expanduser()

    def file(self, path: Path) -> TextFile:
        return TextFile(path, str(path), self.encoding, self.field)


def read_source(source: Source, given: dict[str, Callable]) -> Iterator[Row] | None:
    """The rows of a source; None when its name is that of none. UserError when nothing can be read.

    `given` has, by name, what makes the arguments that a function of rows may ask for.
    """
    path = source.path
    check_slice(source)
    if source.name == "-":
        return files.read_file(spooled(source))
    if function := FUNCTION.fullmatch(source.name):
        given = {**given, "split": lambda: source.split}
        return function_rows(Path(function[1]).expanduser(), function[2], given)
    if path.is_dir():
        return read_folder(source)
    if path.exists():
        return files.read_file(source.file(path))
    is_path = source.name.startswith((".", "/", "~")) or source.name.count("/") > 1
    is_path = is_path or (path.suffix and "/" not in source.name)
    if is_path or files.kind_of(path) or path.is_symlink():
        raise no_such_file(path)
    return hub_rows.read_hub(source) if "/" in source.name else None


def check_slice(source: Source) -> None:
    """UserError for train[:100] of what is read whole."""
    path = source.path
    is_file = source.name == "-" or path.is_file() and not FUNCTION.fullmatch(source.name)
    if "[" in source.split and (is_file or path.is_dir() and not hub_rows.has_configs(path)):
        raise UserError(
            f"--dataset-split {source.split}: only splits of the Hub are read in part, "
            f"{source.name} is read whole; --streaming reads what --max-steps takes."
        )


def read_folder(source: Source) -> Iterator[Row]:
    """The rows of a folder's files of the split, or of a folder that datasets made."""
    path = source.path
    if hub_rows.is_saved(path):
        return hub_rows.read_saved(path, source.split)
    if source.subset and (path / source.subset).is_dir() and not hub_rows.has_configs(path):
        path = path / source.subset
    elif source.subset or hub_rows.has_configs(path):
        return hub_rows.read_hub(source._replace(name=str(path)))
    found = files.files_of_split(path, source.split)
    return (row for file in found for row in files.read_file(source.file(file)))


def spooled(source: Source) -> TextFile:
    """Standard input as a file, deleted when the program ends; the suffix is that of its kind.

    UserError when nothing is piped in.
    """
    if sys.stdin is None or sys.stdin.closed or sys.stdin.isatty():
        raise UserError(
            "--dataset - or --file -: nothing is piped in; write it as in: cat my.jsonl | python "
            "train.py --dataset -"
        )
    copy = TextFile(copy_of(sys.stdin), STDIN, source.encoding, source.field)
    return copy._replace(kind=kind_of_text(copy))


@cache
def copy_of(stdin) -> Path:
    with tempfile.NamedTemporaryFile("wb", prefix="threetoe-stdin-", delete=False) as copy:
        path = Path(copy.name)
        atexit.register(path.unlink, missing_ok=True)
        shutil.copyfileobj(stdin.buffer, copy)
    return path


def kind_of_text(file: TextFile) -> str:
    """The suffix of the kind of file that this is, told from how it begins."""
    with file.open_bytes() as opened:
        if opened.read(4) == b"PAR1":
            return ".parquet"
    with file.reading(), file.open() as text:
        first = next((line for line in file.lines(text) if line.strip()), "")
    if first.lstrip().startswith(("[", "{")):
        return ".json"  # whose reader knows an object a line, too
    return ".tsv" if TAB in first else ".csv"
