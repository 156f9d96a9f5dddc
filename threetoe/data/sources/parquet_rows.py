"""Reads rows of parquet, and of any batches of Arrow."""

from collections.abc import Iterator
from pathlib import Path

from threetoe.errors import UserError, first_line
from threetoe.messages import Unusable

BATCH = 1000  # rows


def read_parquet(path: Path, name: str) -> Iterator:
    """The rows with their numbers; one that holds nothing, or no text where text is, is a fault."""
    import pyarrow
    from pyarrow import parquet

    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            check_names(file.schema_arrow.names, name)
            for batch in file.iter_batches(BATCH):
                for row in rows_of_batch(batch):
                    number += 1
                    yield f"{name}: row {number}", row
    except (pyarrow.ArrowException, OSError, ValueError) as error:  # ValueError: names not UTF-8
        raise UserError(
            f"{name}: not parquet, or cut short, after row {number}: {one_line(error)}"
        ) from error


def check_names(names: list[str], name: str) -> None:
    twice = [column for column in dict.fromkeys(names) if names.count(column) > 1]
    if twice:
        raise UserError(f"{name}: has the column '{twice[0]}' twice; rename one.")


def rows_of_batch(batch) -> Iterator:
    """The rows of Arrow data as dicts, values left as they are, or the fault of each."""
    try:
        rows = batch.to_pylist()
    except (ValueError, OverflowError):  # bytes that are no text, a time past the year 9999
        rows = [row_at(batch, number) for number in range(batch.num_rows)]
    for row in rows:
        is_empty = type(row) is dict and all(value is None for value in row.values())
        yield Unusable("the row is empty: all its columns are null") if is_empty else row


def row_at(batch, number: int):
    try:
        return batch.slice(number, 1).to_pylist()[0]
    except UnicodeDecodeError:
        return Unusable("a text of it is not UTF-8")
    except (ValueError, OverflowError) as error:
        return Unusable(f"a value of it cannot be read: {one_line(error)}")


def one_line(error: Exception) -> str:
    return first_line(error).rstrip(".") + "."
