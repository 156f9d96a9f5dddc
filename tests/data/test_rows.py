"""Rows of every kind of file know where they stand, and a broken file says where it breaks."""

import gzip
import json
import os

import pyarrow
import pytest
from pyarrow import parquet
from rows_read import problem_of, read, rows_of

from threetoe.errors import UserError


@pytest.mark.parametrize(
    ("name", "text", "rows"),
    [
        ("a.json", '[{"q": 1}, {"q": 2}]', [("a.json:1", {"q": 1}), ("a.json:1", {"q": 2})]),
        ("a.json", '[\n{"q": 1,\n"r": 2},\n\n {"q": 3}\n]\n',
         [("a.json:2", {"q": 1, "r": 2}), ("a.json:5", {"q": 3})]),
        ("a.json", '\n\n[{"q": "[,]"}]', [("a.json:3", {"q": "[,]"})]),
        ("a.json", '\ufeff[{"q": "é"}]', [("a.json:1", {"q": "é"})]),
        ("a.JSON", '[{"q": null}]', [("a.JSON:1", {"q": None})]),
        ("a.jsonl", '{"q": 1}\r\n\r\n{"q": 2}', [("a.jsonl:1", {"q": 1}), ("a.jsonl:3", {"q": 2})]),
        ("a.jsonl", '\ufeff{"q": "\u2028"}\n', [("a.jsonl:1", {"q": "\u2028"})]),
        ("a.csv", "q,r\n1,\n", [("a.csv:2", {"q": "1", "r": ""})]),
        ("a.csv", "\ufeffq,r\r\n1,2\r\n3,4\r\n",
         [("a.csv:2", {"q": "1", "r": "2"}), ("a.csv:3", {"q": "3", "r": "4"})]),
        ("a.csv", 'q,r\n"a\nb\nc",2\n3,4\n',
         [("a.csv:2", {"q": "a\nb\nc", "r": "2"}), ("a.csv:5", {"q": "3", "r": "4"})]),
        ("a.csv", '\n"a\nb",r\n\n\n1,"say ""hi"", do"\n',
         [("a.csv:6", {"a\nb": "1", "r": 'say "hi", do'})]),
        ("a.tsv", "q\tr\na, b\tc\n", [("a.tsv:2", {"q": "a, b", "r": "c"})]),
        ("a.md", "# One\n\nText.\n", [("a.md:1", {"text": "# One\n\nText.\n"})]),
    ],
    ids=[
        "json-one-line", "json-rows-over-lines", "json-late-start", "json-bom", "json-upper-case",
        "jsonl-crlf", "jsonl-bom-line-separator", "csv-empty-cell", "csv-bom-crlf",
        "csv-quoted-newlines", "csv-blank-lines", "tsv", "markdown",
    ],
)  # fmt: skip
def test_rows_come_with_the_line_that_they_start_on(name, text, rows, tmp_path):
    assert rows_of(tmp_path / name, text) == rows


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("a.json", "", "a.json is empty: it holds no rows."),
        ("a.json", " \n", "a.json is empty: it holds no rows."),
        ("a.json", "[]", "a.json is empty: it holds no rows."),
        ("a.jsonl", "\n\n", "a.jsonl is empty: it holds no rows."),
        ("a.csv", "", "a.csv is empty: it holds no rows."),
        ("a.csv", "q,r\n", "a.csv is empty: it holds no rows."),
        ("a.json", '[{"q": 1},\n{"q": }]', "a.json:2: broken JSON: Expecting value."),
        ("a.json", '[{"q": 1}\n{"q": 2}]', "a.json:2: broken JSON: expected ',' or ']' after a"),
        ("a.json", '[{"q": 1},\n\n', "a.json:3: broken JSON: Expecting value."),
        ("a.json", '[{"q": 1}]\n]', "a.json:2: broken JSON: more text behind its end."),
        ("a.json", '[{"q": "a\nb"}]', "a.json:1: broken JSON: Invalid control character at."),
        ("a.json", "[" * 99999, "a.json:1: broken JSON: maximum recursion depth exceeded"),
        ("a.json", f'[\n{{"q": {"9" * 5000}}}]', "a.json:2: broken JSON: Exceeds the limit"),
        ("a.json", "\nhello", "a.json:2: a .json file holds a list of rows, [{...}, {...}]."),
        ("a.json", '{\n"q": 1}', "a.json:1: holds one object, not a list of rows; with a row on"),
        ("a.json", '{"a": 1, "b": [{}]}',
         "a.json:1: holds one object, not a list of rows; its rows may be those of 'b': --field b"),
        ("a.json", '{"a": {"b": [{}], "c": [{}]}}',
         "a.json:1: holds one object, not a list of rows; say which list of it with --field: a.b"),
        ("a.csv", 'q,r\n1,2\n"3\n4","\n5\n', "a.csv:4: broken quotes: a quote opens here and"),
        ("a.csv", '"q"a,r\n1,2\n', "a.csv:1: the header has broken quotes: ',' expected"),
        ("a.csv", "q,r,q\n1,2,3\n", "a.csv:1: the header has the column 'q' twice; rename one."),
        ("a.csv", " , \n1,2", "a.csv:1: the first line is no header; write the columns' names"),
        ("a.csv", b"q\xff,r\n1,2\n", "a.csv:1: the header is not UTF-8; "),
        ("a.json", '[{"q": 1}]'.encode("utf-16"),
         "a.json:1: starts with the mark (BOM) of utf-16, and is read as utf-8: --encoding utf-16"),
        ("a.csv", "q,r\n1,2".encode("utf-32"), "a.csv:1: starts with the mark (BOM) of utf-32, "),
        ("a.jsonl", '{"q": 1}'.encode("utf-16-be"), "a.jsonl:1: looks like UTF-16: --encoding utf"),
        ("a.jsonl.gz", gzip.compress(b'{"q": 1}\n' * 9)[:-9], "a.jsonl.gz: damaged or cut short"),
        ("a.xlsx", "PK", "a.xlsx: the name does not end in one of .json, .jsonl, .csv, .tsv"),
        ("a.cvs", "q,r", "a.cvs: the name does not end in one of .json, .jsonl, .csv, .tsv"),
        ("a.parquet", b"PAR1 and no more", "a.parquet: not parquet, or cut short, after row 0:"),
        ("a.parquet", b"", "a.parquet: not parquet, or cut short, after row 0: Parquet"),
        ("a.log", "q", "a.log: the name does not end in one of .json, .jsonl, .csv, .tsv"),
        ("a.txt", " \n", "a.txt is empty: it holds no rows."),
    ],
    ids=lambda case: case if isinstance(case, str) and case.startswith("a.") else "",
)  # fmt: skip
def test_a_broken_file_says_what_is_wrong_and_where(name, text, problem, tmp_path):
    (tmp_path / "rows.csv").write_text("q\n1\n")
    assert problem_of(tmp_path / name, text).startswith(problem)


def test_parquet_rows_are_numbered(tmp_path):
    table = pyarrow.table({"q": ["a", None], "m": [[{"role": "user"}], []]})
    parquet.write_table(table, tmp_path / "a.parquet", row_group_size=1)
    assert read(tmp_path / "a.parquet") == [
        (f"{tmp_path}/a.parquet: row 1", {"q": "a", "m": [{"role": "user"}]}),
        (f"{tmp_path}/a.parquet: row 2", {"q": None, "m": []}),
    ]


@pytest.mark.parametrize("place", [4, -12], ids=["in-its-data", "at-its-end"])
def test_parquet_that_is_damaged_is_refused(place, tmp_path):
    parquet.write_table(pyarrow.table({"q": ["abc" * 99] * 99}), tmp_path / "whole.parquet")
    damaged = bytearray((tmp_path / "whole.parquet").read_bytes())
    damaged[place : place + 8] = b"\xff" * 8
    assert "a.parquet" in problem_of(tmp_path / "a.parquet", bytes(damaged))


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("rows.json", "No such file: rows.json. Did you mean 'rows.jsonl'?"),
        ("deep/rows.jsonl", "No such file: deep/rows.jsonl. There is no folder deep."),
        ("./rows", "No such file: rows. Did you mean 'rows.jsonl'?"),
        ("/no/where", "No such file: /no/where. There is no folder /no."),
        ("circle", "No such file: circle is a link to circle, which is none."),
    ],
)
def test_a_source_that_is_no_file_is_refused(source, problem, here):
    (here / "rows.jsonl").write_text("")
    (here / "circle").symlink_to("circle")
    with pytest.raises(UserError) as raised:
        read(source)
    assert str(raised.value) == problem


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "memory.json").symlink_to("/proc/self/mem")
    with pytest.raises(UserError, match="memory.json cannot be read: Input/output error."):
        read(tmp_path / "memory.json")


def test_a_home_folder_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.csv").write_text("q\n1\n")
    assert [row for _, row in read("~/a.csv")] == [{"q": "1"}]


def test_a_plain_word_is_no_source_of_rows(here):
    assert read("sentimant") is None


def test_a_file_wins_over_a_hub_id_of_the_same_name(here):
    (here / "owner").mkdir()
    (here / "owner" / "rows.json").write_text(json.dumps([{"q": 1}]))
    assert read(os.path.join("owner", "rows.json"))[0][1] == {"q": 1}
