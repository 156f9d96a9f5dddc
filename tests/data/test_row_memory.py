"""Rows stream by: however many there are, few are held at a time; of a .json its text is."""

import csv
import gzip
import json
import time
import tracemalloc

import pyarrow
import pytest
from pyarrow import parquet

from threetoe.data.sources.source import Source, read_source
from threetoe.errors import UserError

ROWS = 60_000
MOST = 6 << 20  # bytes; the files have some 9 MB
ROW = {"instruction": "Name the colour of é." * 3, "input": "", "output": "It is blue. " * 5}


def write_json(path, rows):
    with path.open("w", encoding="utf-8") as file:
        file.write("[" + json.dumps(ROW))
        file.writelines(",\n" + json.dumps(ROW) for _ in range(rows - 1))
        file.write("]")


def write_field(path, rows):
    write_json(path, rows)
    path.write_bytes(b'{"version": 1, "data": {"rows": ' + path.read_bytes() + b"}}")


def write_jsonl(path, rows):
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(ROW) + "\n" for _ in range(rows))


def write_csv(path, rows):
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, ROW)
        table.writeheader()
        table.writerows(ROW for _ in range(rows))


def write_parquet(path, rows):
    parquet.write_table(pyarrow.Table.from_pylist([ROW]).take([0] * rows), path)


def write_folder(path, rows):
    path.mkdir()
    for number in range(4):
        write_jsonl(path / f"train-{number}.jsonl", rows // 4)


@pytest.mark.parametrize(
    ("name", "write", "options"),
    [
        ("a.json", write_json, {}),
        ("b.json", write_field, {"field": "data.rows"}),
        ("a.jsonl", write_jsonl, {}),
        ("a.csv", write_csv, {}),
        ("a.parquet", write_parquet, {}),
        ("folder", write_folder, {}),
    ],
)
def test_many_rows_are_read_in_flat_memory(name, write, options, tmp_path):
    write(tmp_path / name, ROWS)
    tracemalloc.start()
    try:
        rows = read_source(Source(str(tmp_path / name), **options), {})
        count = sum(row == ROW for _, row in rows)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == ROWS
    assert most < MOST + (2 * (tmp_path / name).stat().st_size if name.endswith(".json") else 0)
    assert pyarrow.total_allocated_bytes() < MOST


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.json.gz", "a.csv.gz", "a.txt.gz"])
def test_a_gz_that_unpacks_without_end_is_refused_in_little_time_and_memory(name, tmp_path):
    with gzip.open(tmp_path / name, "wb") as file:
        file.write(b'[{"q": "' if "json" in name else b"q\n")
        for _ in range(200):
            file.write(b"x" * (1 << 20))
    began, held = time.process_time(), 0
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match=r"unpacks to more than 50|a line of more than") as told:
            list(read_source(Source(str(tmp_path / name)), {}))
        _, held = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "\n" not in str(told.value)
    assert held < 200 << 20
    assert time.process_time() - began < 2
