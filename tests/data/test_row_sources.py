"""Folders, standard input, what datasets wrote, and the Hub as sources of rows."""

import io
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet
from rows_read import problem_of, read

from threetoe.errors import UserError

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """Nothing is written to the user's cache of datasets."""
    from datasets import config

    monkeypatch.setattr(config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


def write(folder, *names):
    """Files of one row each, which says the file's name."""
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        rows = [{"q": name}]
        if name.endswith(".parquet"):
            parquet.write_table(pyarrow.Table.from_pylist(rows), file)
        elif name.endswith(".csv"):
            file.write_text(f"q\n{name}\n")
        else:
            file.write_text(json.dumps(rows if name.endswith(".json") else rows[0]))


def names_in(folder, split="train", subset=None):
    return [row["q"] for _, row in read(folder, split, subset)]


def refused(*args, **options):
    with pytest.raises(UserError) as raised:
        read(*args, **options)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_all_files_of_a_folder_are_read_in_order_whatever_their_kinds(tmp_path):
    write(tmp_path, "b.json", "a.jsonl", "deep/c.csv", "d.parquet")
    write(tmp_path, ".hidden.json", ".git/e.json", "README.json", "notes.txt")
    assert names_in(tmp_path) == ["a.jsonl", "b.json", "d.parquet", "deep/c.csv"]
    assert read(tmp_path)[0][0] == f"{tmp_path}/a.jsonl:1"


@pytest.mark.parametrize(
    ("files", "split", "found"),
    [
        ("train.json test.json", "train", "train.json"),
        ("train.json test.json", "test", "test.json"),
        ("train-0-of-2.parquet train-1-of-2.parquet dev.json", "train",
         "train-0-of-2.parquet train-1-of-2.parquet"),
        ("train/a.json train/b.json test/a.json", "test", "test/a.json"),
        ("a_train.json a_dev.json", "validation", "a_dev.json"),
        ("val.json train.json other.json", "eval", "val.json"),
        ("dev.json validation.json", "dev", "dev.json"),
        ("law.json medicine.json train.json", "law", "law.json"),
        ("law/1.json train/2.json", "law", "law/1.json"),
        ("testimonials.csv trains.csv", "train", "testimonials.csv trains.csv"),
        ("a.json b.json", "test", "a.json b.json"),
    ],
)  # fmt: skip
def test_files_named_for_splits_are_read_for_theirs(files, split, found, tmp_path):
    write(tmp_path, *files.split())
    assert names_in(tmp_path, split) == found.split()


def test_a_split_that_no_file_is_named_for_is_refused_with_those_there_are(tmp_path):
    write(tmp_path, "train.json", "tests/a.json", "dev.json")
    assert refused(tmp_path, "tset") == (
        f"{tmp_path} has no split 'tset'. Its files are named for dev, train: --dataset-split."
    )


def test_a_folder_without_rows_says_what_is_in_it(tmp_path):
    kinds = ".json, .jsonl, .csv, .tsv, .parquet, .txt, .md"
    said = f"The folder {tmp_path} has no {kinds} in it; "
    assert refused(tmp_path) == f"{said}it is empty."
    write(tmp_path, *(f"{n}.log" for n in range(7)))
    assert refused(tmp_path) == f"{said}it holds 0.log, 1.log, 2.log, 3.log, 4.log, ...."


@pytest.fixture
def downloaded(tmp_path):
    """A folder as it comes from the Hub, with two subsets."""
    write(tmp_path, "data/a-0.parquet", "data/b-0.parquet")
    files = "".join(
        f"  - split: {split}\n    path: data/{name}-*\n"
        for split, name in (("train", "a"), ("dev", "b"))
    )
    (tmp_path / "README.md").write_text(
        "---\nlicense: mit\nconfigs:\n"
        f"- config_name: one\n  data_files:\n{files}"
        "- config_name: two\n  data_files: data/b-*\n---\n# Rows\n"
    )
    return tmp_path


@pytest.mark.parametrize("streaming", [False, True])
def test_a_folder_downloaded_from_the_hub_is_read_by_its_card(downloaded, streaming):
    where = f"{downloaded}[dev]: row 1"
    assert read(downloaded, "dev", "one", streaming=streaming) == [
        (where, {"q": "data/b-0.parquet"})
    ]
    assert names_in(downloaded, "train[:1]", "two") == ["data/b-0.parquet"]


@pytest.mark.parametrize(
    ("split", "subset", "said"),
    [
        ("train", None, "it has several subsets, choose one with --dataset-subset: one, two."),
        ("train", "twoo", "it has no subset 'twoo'. Did you mean 'two'? It has one, two: --da"),
        ("test", "one", "it has no split 'test'. It has train, dev: --dataset-split."),
    ],
)
def test_a_subset_or_split_that_a_card_does_not_have_is_refused(downloaded, split, subset, said):
    problem = refused(downloaded, split, subset)
    assert problem.startswith(f"The folder {downloaded} cannot be read: {said}")


def test_a_folder_that_changed_is_read_anew(tmp_path):
    (tmp_path / "README.md").write_text(
        "---\nconfigs:\n- config_name: a\n  data_files: x.jsonl\n---"
    )
    for number in (1, 2):
        (tmp_path / "x.jsonl").write_text(json.dumps({"q": number}))
        assert names_in(tmp_path) == [number]
        assert names_in(tmp_path, "train[:1]") == [number]


def test_a_subset_of_a_folder_without_a_card_is_a_folder_in_it(tmp_path):
    write(tmp_path, "one/train.json", "two/train.json", "two/test.json")
    assert names_in(tmp_path, "train", "two") == ["two/train.json"]


def test_what_save_to_disk_wrote_is_read(tmp_path):
    import datasets

    rows = datasets.Dataset.from_dict({"q": ["a", "b"], "n": [0, 1]})
    rows = rows.cast_column("n", datasets.ClassLabel(names=["no", "yes"]))
    rows.save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"train": rows}).save_to_disk(tmp_path / "more")
    assert [row for _, row in read(tmp_path / "one")] == [{"q": "a", "n": 0}, {"q": "b", "n": 1}]
    assert names_in(tmp_path / "more") == ["a", "b"]
    assert refused(tmp_path / "more", "test") == (
        f"The folder {tmp_path}/more has no split 'test'. It has train: --dataset-split."
    )


def test_values_that_datasets_would_decode_are_left_as_they_are(tmp_path):
    import datasets

    column = [{"bytes": b"no image", "path": None}]
    rows = datasets.Dataset.from_dict({"image": column, "q": ["a"]})
    rows.cast_column("image", datasets.Image()).save_to_disk(tmp_path)
    assert read(tmp_path)[0][1] == {"image": column[0], "q": "a"}


def test_rows_of_mixed_types_come_as_they_were_written(tmp_path):
    rows = [{"q": 1, "m": [{"a": 1}]}, {"q": "x", "m": [{"a": "b"}]}, {"q": {"z": 1}, "m": None}]
    (tmp_path / "README.md").write_text(
        "---\nconfigs:\n- config_name: a\n  data_files: x.jsonl\n---"
    )
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [row for _, row in read(tmp_path)] == rows


def piped(monkeypatch, data):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


@pytest.mark.parametrize(
    ("data", "rows"),
    [
        (b'[{"q": "1"},\n{"q": "2"}]', [(1, "1"), (2, "2")]),
        (b'\n{"q": "1"}\n\n{"q": "2"}\n', [(2, "1"), (4, "2")]),
        (b'{"q": "1"}\n{"q": \n', [(1, "1"), (2, None)]),
        (b"\xef\xbb\xbfq,r\n1,x\n", [(2, "1")]),
        (b"q\tr\n1, 2\tx\n", [(2, "1, 2")]),
    ],
)
def test_rows_are_read_from_standard_input_as_often_as_asked(data, rows, monkeypatch):
    piped(monkeypatch, data)
    for _ in range(2):
        found = [(at, row["q"] if isinstance(row, dict) else None) for at, row in read("-")]
        assert found == [(f"stdin:{line}", text) for line, text in rows]


def test_an_encoding_and_a_field_hold_for_standard_input(monkeypatch):
    piped(monkeypatch, '{"data": [{"q": "é"}]}'.encode("utf-16"))
    options = {"encoding": "utf-16", "field": "data"}
    assert read("-", **options) == [("stdin:1", {"q": "é"})]


def test_parquet_can_be_piped_in(monkeypatch, tmp_path):
    write(tmp_path, "a.parquet")
    piped(monkeypatch, (tmp_path / "a.parquet").read_bytes())
    assert read("-") == [("stdin: row 1", {"q": "a.parquet"})]


@pytest.mark.parametrize(
    ("data", "problem"),
    [(b"", "stdin is empty: it holds no rows."), (b'{"a": [{}]}', "stdin:1: holds one object, no")],
)
def test_standard_input_without_rows_is_refused(data, problem, monkeypatch):
    piped(monkeypatch, data)
    assert refused("-").startswith(problem)


def test_a_terminal_is_no_standard_input_to_read():
    script = "import pty, sys; sys.exit(pty.spawn([sys.executable, *sys.argv[1:]]) >> 8)"
    done = subprocess.run(
        [sys.executable, "-c", script, ROOT / "train.py", "--dataset", "-", "--dry-run"],
        capture_output=True, text=True, timeout=100, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert "--file -: nothing is piped in; " in done.stdout
    assert done.returncode == 2


def test_the_copy_of_standard_input_is_gone_when_the_program_ends(tmp_path):
    script = (
        "from rows_read import read; from pathlib import Path; import tempfile\n"
        "print(len(read('-')), len(list(Path(tempfile.gettempdir()).iterdir())))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], input='{"q": 1}\n', capture_output=True, text=True,
        env={**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
    )  # fmt: skip
    assert done.stdout == "1 1\n"
    assert not list(tmp_path.iterdir())


class Refusing(BaseHTTPRequestHandler):
    """A Hub that has no dataset but a gated one."""

    def do_GET(self):
        gated = "gated" in self.path
        self.send_response(403 if gated else 404)
        self.send_header("X-Error-Code", "GatedRepo" if gated else "RepoNotFound")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, *args):
        """Silent."""


def test_what_the_hub_does_not_give_is_said_in_one_line(tmp_path):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    script = (
        "from rows_read import read\nfrom threetoe.errors import UserError\n"
        "for name in ('ada/none', 'ada/gated'):\n"
        "    try:\n        read(name)\n    except UserError as error:\n        print(error)\n"
    )
    env = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    env |= {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HOME": str(tmp_path)}
    env |= {"NO_PROXY": "127.0.0.1", "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=env, capture_output=True, text=True, timeout=100
    )
    server.shutdown()
    none, gated = done.stdout.splitlines()
    begins = "The dataset '{}' is no file here and cannot be read from the Hub: "
    assert none == (
        begins.format("ada/none")
        + "Dataset 'ada/none' doesn't exist on the Hub or cannot be accessed. Give a local copy: "
        "hf download --repo-type dataset ada/none --local-dir FOLDER writes one "
        "for --dataset FOLDER."
    )
    assert gated.startswith(begins.format("ada/gated") + "Dataset 'ada/gated' is a gated dataset")
    assert "; log in with hf auth login. Give a local copy" in gated
    assert done.stderr == ""


def test_no_remote_code_is_asked_for():
    for file in (ROOT / "threetoe").rglob("*.py"):
        assert "trust_remote_code=True" not in file.read_text(encoding="utf-8")


def test_a_file_of_a_folder_that_is_broken_is_named(tmp_path):
    write(tmp_path, "a.json")
    (tmp_path / "b.json").write_text("[")
    assert refused(tmp_path) == f"{tmp_path}/b.json:1: broken JSON: Expecting value."
    assert problem_of(tmp_path / "c.json", "[").startswith("c.json:1: ")
