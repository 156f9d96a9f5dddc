"""The kinds of file that hold rows, each with its reader."""

from collections.abc import Iterator
from pathlib import Path

from threetoe.csv_rows import read_csv, read_tsv
from threetoe.errors import UserError, did_you_mean
from threetoe.json_rows import read_json, read_jsonl
from threetoe.parquet_rows import read_parquet
from threetoe.text_file import TextFile, checked_encoding

READERS = {
    ".json": read_json,
    ".jsonl": read_jsonl,
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".parquet": lambda file: read_parquet(file.path, file.name),
}
ALIKE = {".ndjson": ".jsonl"}
SHEETS = (".xlsx", ".xls", ".ods", ".numbers")


def kind_of(path: Path) -> str | None:
    """The suffix that says how a file is read, .gz taken off; None when it is not known."""
    name = path.name.lower()
    suffix = Path(name.removesuffix(".gz")).suffix
    suffix = ALIKE.get(suffix, suffix)
    is_known = suffix in READERS and not (suffix == ".parquet" and name.endswith(".gz"))
    return suffix if is_known else None


def read_file(file: TextFile) -> Iterator:
    """The rows of a file; UserError at once for a kind, a field or an encoding that cannot be."""
    kind = file.kind or kind_of(Path(file.name))
    if kind is None:
        raise no_kind(file.name)
    if file.field is not None and kind != ".json":
        raise UserError(f"--field {file.field}: {file.name} is {kind[1:]}; fields are json's.")
    checked_encoding(file.encoding)
    return not_empty(READERS[kind](file), file.name)


def no_kind(name: str) -> UserError:
    suffix = Path(name).suffix.lower()
    hint = " Save it as .csv." if suffix in SHEETS else did_you_mean(suffix, READERS)
    return UserError(f"{name}: the name does not end in one of {', '.join(READERS)}.{hint}")


def not_empty(rows: Iterator, name: str) -> Iterator:
    first = next(rows, None)
    if first is None:
        raise UserError(f"{name} is empty: it holds no rows.")
    yield first
    yield from rows
