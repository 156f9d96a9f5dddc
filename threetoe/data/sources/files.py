"""The kinds of file that hold rows, each with its reader; and the files of a folder."""

import os
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from threetoe.data.sources.csv_rows import TAB, read_table
from threetoe.data.sources.json_rows import read_json, read_jsonl
from threetoe.data.sources.parquet_rows import read_parquet
from threetoe.data.sources.text_file import MARK, TextFile, checked_encoding
from threetoe.errors import UserError, did_you_mean

TEXTS = (".txt", ".md")  # a row each: the whole text


def read_text(file: TextFile) -> Iterator:
    """The whole text as one row."""
    with file.reading():
        text = file.whole()
    if text.strip():
        yield f"{file.name}:1", file.not_decoded() if MARK in text else {"text": text}


READERS = {
    ".json": read_json,
    ".jsonl": read_jsonl,
    ".csv": read_table,
    ".tsv": partial(read_table, separator=TAB),
    ".parquet": lambda file: read_parquet(file.path, file.name),
    **dict.fromkeys(TEXTS, read_text),
}
ALIKE = {".ndjson": ".jsonl"}
SHEETS = (".xlsx", ".xls", ".ods", ".numbers")
SHOWN = 5
MOST_FILES = 100_000
ALIASES = (
    ("train", "training"),
    ("test", "testing"),
    ("validation", "valid", "val", "development", "dev", "evaluation", "eval"),
)
WORDS = "|".join(word for group in ALIASES for word in group)
SPLIT = re.compile(rf"(?<![a-z])({WORDS})(?![a-z])")  # train-00000-of-00001, my_dev.json


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


def files_of_split(folder: Path, split: str) -> list[Path]:
    """The files of known kinds, sorted; where names tell splits, those of this one alone. Texts
    are rows where nothing else is; beside other files they are notes.

    UserError when there are none.
    """
    found = [file for file in all_files(folder) if kind_of(file)]
    found = [file for file in found if kind_of(file) not in TEXTS] or found
    if not found:
        raise no_files(folder)
    named: dict[str, list[Path]] = {}
    for file in found:
        named.setdefault(split_of(file.relative_to(folder), split.lower()), []).append(file)
    unnamed = named.pop("", [])
    if not named:
        return unnamed
    alike = next((group for group in ALIASES if split.lower() in group), ())
    names = [name for name in (split.lower(), *alike) if name in named]
    if not names:
        raise UserError(
            f"{folder} has no split '{split}'.{did_you_mean(split, named)} "
            f"Its files are named for {', '.join(sorted(named))}: --dataset-split."
        )
    return named[names[0]]


def all_files(folder: Path) -> list[Path]:
    """Every file in a folder and those below, sorted; hidden ones and READMEs are left alone.
    UserError where there are more than anyone has rows in, as in /."""
    found = []
    for place, folders, names in os.walk(folder, onerror=cannot_look):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(place, n) for n in names if not n.lower().startswith((".", "readme"))]
        if len(found) > MOST_FILES:
            raise UserError(
                f"The folder {folder} has more than {MOST_FILES:,} files in it and below; name "
                "the one that holds the rows."
            )
    return sorted(filter(Path.is_file, found))


def cannot_look(error: OSError):
    raise UserError(f"The folder {error.filename} cannot be read: {error.strerror}.") from error


def split_of(path: Path, asked: str) -> str:
    """The split that a file's name or the folder nearest to it is named for; '' for none."""
    names = [part.lower() for part in reversed(path.parts)]
    names[0] = names[0].partition(".")[0]
    if re.match(rf"{re.escape(asked)}(?![a-z0-9])", names[0]) or asked in names:
        return asked
    return next((match[1] for name in names if (match := SPLIT.search(name))), "")


def no_files(folder: Path) -> UserError:
    there = sorted(path.name for path in folder.iterdir())
    more = ", ..." if there[SHOWN:] else ""
    holds = f"it holds {', '.join(there[:SHOWN])}{more}" if there else "it is empty"
    return UserError(f"The folder {folder} has no {', '.join(READERS)} in it; {holds}.")
