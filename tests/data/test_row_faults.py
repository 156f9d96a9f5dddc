"""A row that cannot be read is one fault; encodings, fields and long rows are read as they are."""

import gzip
import json

import pyarrow
import pytest
from pyarrow import parquet
from rows_read import problem_of, read, rows_of

BROKEN = "broken JSON: "
CSV = "quote texts with a comma in them"


@pytest.mark.parametrize(
    ("name", "text", "rows"),
    [
        ("a.jsonl", '{"q": 1}\n{"q":\n[1]\n{"q": 2}',
         [{"q": 1}, BROKEN + "Expecting value", "a row is an object with columns, not list",
          {"q": 2}]),
        ("a.jsonl", "[" * 99999 + '\n{"q": 2}', [BROKEN + "maximum recursion depth", {"q": 2}]),
        ("a.jsonl", f'{{"q": {"9" * 5000}}}\n{{"q": 2}}', [BROKEN + "Exceeds the limit", {"q": 2}]),
        ("a.jsonl", b'{"q": "\xff"}\n{"q": 2}', ["not UTF-8; ", {"q": 2}]),
        ("a.json", b'[{"q": "\xff"}, 3, {"q": 2}]',
         ["not UTF-8; ", "a row is an object with columns, not int", {"q": 2}]),
        ("a.json", '{"q": 1}\n{"q": }\n{"q": 2}', [{"q": 1}, BROKEN + "Expecting value", {"q": 2}]),
        ("a.json", '{"q": [}\n{"q": 2}', [BROKEN + "Expecting value", {"q": 2}]),
        ("a.csv", "q,r\n1,2,3\n4,5\n6\n",
         ["has 3 cells, the header 2; " + CSV, {"q": "4", "r": "5"},
          "has 1 cell, the header 2; " + CSV]),
        ("a.csv", 'q,r\n1,"a"b\n4,5\n', ["broken quotes: ',' expected", {"q": "4", "r": "5"}]),
        ("a.csv", b"q,r\n\xff,2\n4,5\n", ["not UTF-8; ", {"q": "4", "r": "5"}]),
        ("a.tsv", "q\tr\n1\n", ["has 1 cell, the header 2; quote texts with a tab in them"]),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_read_is_a_fault_and_the_others_are_read(name, text, rows, tmp_path):
    found = [row for _, row in rows_of(tmp_path / name, text)]
    cut = [f[: len(e)] if isinstance(e, str) else f for f, e in zip(found, rows, strict=True)]
    assert cut == rows


def test_a_row_of_parquet_with_nothing_in_it_or_no_text_is_a_fault(tmp_path):
    broken = pyarrow.array([b"a", b"\xff", None]).view(pyarrow.string())
    parquet.write_table(pyarrow.table({"q": broken, "r": broken}), tmp_path / "a.parquet")
    assert [row for _, row in read(tmp_path / "a.parquet")] == [
        {"q": "a", "r": "a"}, "a text of it is not UTF-8",
        "the row is empty: all its columns are null",
    ]  # fmt: skip


TEXT = '{"q": "%s"}\n'


@pytest.mark.parametrize(
    ("encoding", "words"),
    [
        ("gb18030", "今天天气很好，我们去公园。"),
        ("big5", "今天天氣很好，我們去公園。"),
        ("shift_jis", "今日はいい天気ですね。"),
        ("cp1252", "Für drei Äpfel à deux cafés"),
    ],
)
def test_the_encoding_that_a_file_may_have_is_suggested_and_with_it_the_file_is_read(
    encoding, words, tmp_path
):
    data = (TEXT % words).encode(encoding) * 3
    faults = [row for _, row in rows_of(tmp_path / "a.jsonl", data)]
    assert faults == [f"not UTF-8; its first lines could be {encoding}: --encoding {encoding}"] * 3
    rows = rows_of(tmp_path / "a.jsonl", data, encoding=encoding)
    assert rows == [(f"a.jsonl:{n}", {"q": words}) for n in (1, 2, 3)]


def test_no_encoding_is_suggested_for_a_few_bad_bytes(tmp_path):
    data = (TEXT % "今天").encode() * 9 + b'{"q": "\xe4\xbb"}\n'
    *good, (where, fault) = rows_of(tmp_path / "a.jsonl", data)
    assert (len(good), where) == (9, "a.jsonl:10")
    assert fault == "not UTF-8; --encoding says which encoding it is"


@pytest.mark.parametrize("kind", ["json", "jsonl", "csv"])
@pytest.mark.parametrize(
    "encoding", ["utf-16", "utf-16-le", "utf-32", "gb18030", "utf-8-sig", "utf-7", "cp037"]
)
def test_a_file_of_any_encoding_is_read(encoding, kind, tmp_path):
    texts = {"json": '[{"q": "a"},\n{"q": "b"}]', "jsonl": '{"q": "a"}\n{"q": "b"}',
             "csv": '"q"\na\nb'}  # fmt: skip
    rows = rows_of(tmp_path / f"a.{kind}", texts[kind].encode(encoding), encoding=encoding)
    assert [row for _, row in rows] == [{"q": "a"}, {"q": "b"}]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"encoding": "gb1830"}, "--encoding gb1830: no such encoding. Did you mean 'gb18030'?"),
        ({"encoding": "rot13"}, "--encoding rot13: no such encoding."),
        ({"encoding": "utf-16"}, "a.csv:1: starts with the mark (BOM) of utf-8, and is read as"),
        ({"field": "data"}, "--field data: a.csv is csv; fields are json's."),
    ],
)
def test_an_encoding_or_field_that_cannot_be_is_refused(options, problem, tmp_path):
    text = "\ufeffq,r\n1,2\n"
    assert problem_of(tmp_path / "a.csv", text, **options).startswith(problem)


@pytest.mark.parametrize(
    ("text", "field", "wheres"),
    [
        ('{"data": [{"q": 1},\n{"q": 1}]}', "data", [1, 2]),
        ('{"v": [{"q": 2}],\n"a": {"x": {"q": 3}, "b": [{"q": 1}]},\n"z": 1}', "a.b", [2]),
        ('{"data": [],\n "other": [{"q": 1}]}', "other", [2]),
    ],
)
def test_the_list_of_a_field_is_read_wherever_it_stands(text, field, wheres, tmp_path):
    rows = rows_of(tmp_path / "a.json", text, field=field)
    assert rows == [(f"a.json:{line}", {"q": 1}) for line in wheres]


@pytest.mark.parametrize(
    ("text", "field", "problem"),
    [
        ('{"data": []}', "dta", "a.json:1: --field dta: there is no field 'dta'. Did you mean 'da"),
        ('{"data": {"b": 1}}', "data.b", "a.json:1: --field data.b: 'b' holds no list of rows."),
        ("[]", "data", "a.json:1: --field data: there is no field 'data'."),
        ('{"data": [{"q": 1}]', "data", "a.json:1: broken JSON: expected ',' or '}' in an object."),
        ('{"m": [{}]}\n{"m": [{}]}', "m", "a.json:2: broken JSON: more text behind its end."),
    ],
)
def test_a_field_that_is_not_there_is_refused(text, field, problem, tmp_path):
    assert problem_of(tmp_path / "a.json", text, field=field).startswith(problem)


def test_objects_on_lines_are_rows_in_a_json_too(tmp_path):
    rows = [("a.json:1", {"m": [{"q": 1}]}), ("a.json:2", {"m": []})]
    assert rows_of(tmp_path / "a.json", '{"m": [{"q": 1}]}\n{"m": []}\n') == rows
    assert rows_of(tmp_path / "a.json", '{"q": 1}') == [("a.json:1", {"q": 1})]


@pytest.mark.parametrize("separator", [";", "\t"])
def test_a_csv_may_have_other_separators(separator, tmp_path):
    text = f"q{separator}r\n1, 2{separator}3\n"
    assert rows_of(tmp_path / "a.csv", text) == [("a.csv:2", {"q": "1, 2", "r": "3"})]


def test_a_file_that_is_zipped_is_read(tmp_path):
    rows = [("a.jsonl.gz:2", {"q": 1})]
    assert rows_of(tmp_path / "a.jsonl.gz", gzip.compress(b'\n{"q": 1}')) == rows


def test_rows_longer_than_what_is_read_at_once_are_whole(tmp_path):
    rows = [{"q": "é\n" * size, "n": 1.5e10} for size in (3, 3_000_000, 5, 1_000_000)]
    for name in ("a.json", "a.jsonl"):
        lines = [json.dumps(row) for row in rows]
        text = f"[{', '.join(lines)}]" if name == "a.json" else "\n".join(lines)
        assert [row for _, row in rows_of(tmp_path / name, text)] == rows
