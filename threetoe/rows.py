"""Reads rows from files and the Hub; every row knows where it stands: 'my.json:7'."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

from threetoe.catalog import read_yaml
from threetoe.errors import UserError, first_line, no_such_file, reading, unknown

Row = tuple[str, dict]
TAB = "\t"


def read_source(source: str, split: str) -> list[Row] | None:
    """The rows of a file, a recipe's YAML file or a Hub id; None when it is none of these."""
    path = Path(source).expanduser()
    if path.suffix.lower() in (".yaml", ".yml"):
        return read_recipe(path, split)
    if path.is_dir():
        raise UserError(f"The dataset '{source}' is a folder; name one of its files.")
    if path.exists():
        return read_file(path)
    is_path = source.startswith((".", "/", "~")) or source.count("/") > 1
    if is_path or path.suffix.lower() in READERS:
        raise no_such_file(path)
    return read_hub(source, split) if "/" in source else None


def read_recipe(path: Path, split: str) -> list[Row]:
    """The rows of a named dataset: YAML with description, license and a file each split."""
    recipe = read_yaml(path)
    if not isinstance(recipe, dict):
        raise UserError(f"{path}: a dataset has lines such as 'train: rows.jsonl'.")
    splits = {k: v for k, v in recipe.items() if k not in ("description", "license")}
    if split not in splits:
        raise unknown(f"split of {path.stem}", split, splits)
    if not isinstance(splits[split], str):
        raise UserError(f"{path}: '{split}' names a file, such as rows.jsonl, not {splits[split]}.")
    return read_file(path.parent / splits[split])


def read_file(path: Path) -> list[Row]:
    """All rows of a json, jsonl, csv, tsv or parquet file."""
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise UserError(f"{path}: the name does not end in one of {', '.join(READERS)}.")
    with reading(path):
        rows = list(reader(path))
    if not rows:
        raise UserError(f"{path} is empty: it holds no rows.")
    for where, row in rows:
        if not isinstance(row, dict):
            raise UserError(f"{where}: a row is an object with columns, not {type(row).__name__}.")
    return rows


def read_json(path: Path) -> Iterator[Row]:
    """A list of objects; each with the line that it starts on."""
    text = path.read_text(encoding="utf-8-sig")
    place = skip_space(text, 0)
    if place == len(text):
        return
    if text[place] != "[":
        raise UserError(
            f"{path}:{line_of(text, place)}: a .json file holds a list of rows, [{{...}}, {{...}}];"
            " with a row on each line, call it .jsonl."
        )
    line, seen, place = 1, 0, skip_space(text, place + 1)
    while text[place : place + 1] != "]":
        line, seen = line + text.count("\n", seen, place), place
        row, place = decode(text, place, path)
        yield f"{path}:{line}", row
        place = skip_space(text, place)
        if text[place : place + 1] == ",":
            place = skip_space(text, place + 1)
        elif text[place : place + 1] != "]":
            raise broken(path, line_of(text, place), "expected ',' or ']' after a row")
    after = skip_space(text, place + 1)
    if after < len(text):
        raise broken(path, line_of(text, after), "more text after the list's ']'")


def decode(text: str, place: int, path: Path):
    try:
        return json.JSONDecoder().raw_decode(text, place)
    except json.JSONDecodeError as error:
        raise broken(path, error.lineno, error.msg) from error
    except (ValueError, RecursionError) as error:  # a number too long, brackets too deep
        raise broken(path, line_of(text, place), first_line(error)) from error


def broken(path: Path, line: int, problem: str) -> UserError:
    return UserError(f"{path}:{line}: broken JSON: {problem}.")


def line_of(text: str, place: int) -> int:
    return text.count("\n", 0, place) + 1


def skip_space(text: str, place: int) -> int:
    while text[place : place + 1].isspace():
        place += 1
    return place


def read_jsonl(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    yield f"{path}:{number}", json.loads(line)
                except json.JSONDecodeError as error:
                    raise broken(path, number, error.msg) from error
                except (ValueError, RecursionError) as error:
                    raise broken(path, number, first_line(error)) from error


def read_csv(path: Path) -> Iterator[Row]:
    """Each row after the header, with the line that it starts on; empty lines are no rows."""
    delimiter = TAB if path.suffix.lower() == ".tsv" else ","
    csv.field_size_limit(2**31 - 1)
    header = None
    with path.open(encoding="utf-8-sig", newline="") as file:
        for line, cells in numbered(csv.reader(file, delimiter=delimiter, strict=True), path):
            if header is None:
                header = checked_header(cells, f"{path}:{line}")
            elif len(cells) != len(header):
                raise UserError(
                    f"{path}:{line}: has {len(cells)} cells, the header {len(header)}; "
                    f"quote texts with {'a tab' if delimiter == TAB else 'a comma'} in them."
                )
            else:
                yield f"{path}:{line}", dict(zip(header, cells, strict=True))


def numbered(reader, path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line that it starts on, cells) of every row that is not empty."""
    line = 1
    try:
        for cells in reader:
            if cells:
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise UserError(
            f"{path}:{line}: broken quotes: {error}; write a quote inside a quoted text twice."
        ) from error


def checked_header(names: list[str], where: str) -> list[str]:
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise UserError(f"{where}: the header has the column '{twice[0]}' twice; rename one.")
    return names


def read_parquet(path: Path) -> Iterator[Row]:
    import pyarrow
    from pyarrow import parquet

    number = 0
    try:
        for batch in parquet.ParquetFile(path).iter_batches():
            for row in batch.to_pylist():
                number += 1
                yield f"{path}: row {number}", row
    except pyarrow.ArrowException as error:
        raise UserError(f"{path}: not parquet, or cut short: {first_line(error)}") from error


def read_hub(source: str, split: str) -> list[Row]:
    """The rows of a dataset on the Hub, through Hugging Face's datasets; no remote code."""
    import datasets

    try:
        found = datasets.load_dataset(source, split=split)
    except Exception as error:  # datasets raises many kinds: offline, missing, no such split
        raise UserError(
            f"The dataset '{source}' is no file here and cannot be read from the Hub: "
            f"{first_line(error).rstrip('.')}. Give a local copy: --dataset my.jsonl."
        ) from error
    return [(f"{source}[{split}]: row {n}", row) for n, row in enumerate(found, 1)]


READERS = {
    ".json": read_json,
    ".jsonl": read_jsonl,
    ".csv": read_csv,
    ".tsv": read_csv,
    ".parquet": read_parquet,
}
