"""Rows stream by: however many there are, few are held at a time."""

import csv
import json
import tracemalloc

import pyarrow
import pytest
from pyarrow import parquet

from threetoe.data.sources.source import read_source
from threetoe.options.train import TrainConfig

ROWS = 200_000
MOST = 20 << 20  # bytes; the files have some 30 MB
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
        rows = read_source(str(tmp_path / name), "train", None, TrainConfig(**options))
        count = sum(row == ROW for _, row in rows)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == ROWS
    assert most < MOST
    assert pyarrow.total_allocated_bytes() < MOST
