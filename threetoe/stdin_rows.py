"""Rows that are piped in: kept in a temporary file, so that they can be read more than once."""

import atexit
import shutil
import sys
import tempfile
from functools import cache
from pathlib import Path

from threetoe.csv_rows import TAB
from threetoe.errors import UserError
from threetoe.text_file import TextFile

NAME = "stdin"


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
