"""Rows from a function of a .py file: what it is called with, what it may return, who is blamed."""

from pathlib import Path

import pytest
from rows_read import read

from threetoe.backend import model as backend
from threetoe.data.formats import ready_row
from threetoe.errors import PluginError, UserError
from threetoe.messages import Unusable

EXAMPLE = Path(__file__).parents[2] / "examples" / "custom_dataset.py"
ROW = {"prompt": "a", "completion": "b"}


def rows_of(folder, source, name="mine.py", function="", split="train"):
    """The rows of a file with this source."""
    (folder / name).write_text(source, encoding="utf-8")
    return [row for _, row in read(f"{folder}/{name}{function}", split)]


def returned(folder, answer, top=""):
    return rows_of(folder, f"{top}\ndef get_custom_dataset():\n    return {answer}\n")


def checked(row):
    """What becomes of a row of tokens, or the fault of it."""
    try:
        return ready_row(row)
    except Unusable as fault:
        return str(fault)


def problem_of(error, folder, *args, **named):
    with pytest.raises(error) as raised:
        rows_of(folder, *args, **named)
    assert "\n" not in str(raised.value)
    return str(raised.value).replace(f"{folder}/", "")


@pytest.mark.parametrize(
    ("top", "answer"),
    [
        ("", f"[{ROW}] * 2"),
        ("", f"({ROW} for _ in range(2))"),
        ("", f"map(dict, [{ROW}] * 2)"),
        ("import datasets", f"datasets.Dataset.from_list([{ROW}] * 2)"),
        ("import datasets", f"datasets.Dataset.from_list([{ROW}] * 2).to_iterable_dataset()"),
        ("class Rows:\n    def __len__(self): return 2\n"
         f"    def __getitem__(self, n): return {ROW}", "Rows()"),
        (f"class Rows:\n    def __getitem__(self, n): return [{ROW}, {ROW}][n]", "Rows()"),
        ("import torch\nclass Rows(torch.utils.data.Dataset):\n    def __len__(self): return 2\n"
         f"    def __getitem__(self, n): return {ROW}", "Rows()"),
        (f"from collections import UserDict\nrow = UserDict({ROW})", "[row, row]"),
    ],
    ids=["list", "generator", "map", "Dataset", "IterableDataset", "by-number", "only-items",
         "torch", "mappings"],
)  # fmt: skip
def test_rows_come_in_any_of_these(top, answer, tmp_path):
    assert returned(tmp_path, answer, top) == [ROW, ROW]


def test_lists_of_messages_are_conversations(tmp_path):
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert returned(tmp_path, [messages]) == [{"messages": messages}]


@pytest.mark.parametrize(
    ("row", "ready"),
    [
        ("{'input_ids': [1, 2], 'labels': [-100, 2]}", ([1, 2], [-100, 2])),
        ("{'input_ids': (1, 2), 'labels': (-100, 2), 'attention_mask': [1, 1], 'x': 1}",
         ([1, 2], [-100, 2])),
        ("{'input_ids': np.array([1, 2]), 'labels': np.array([-100, 2])}", ([1, 2], [-100, 2])),
        ("{'input_ids': list(np.array([1, 2])), 'labels': [1, 2]}", ([1, 2], [1, 2])),
        ("{'input_ids': [1, 2, 0, 0], 'labels': [1, 2, -100, -100], "
         "'attention_mask': np.array([1, 1, 0, 0])}", ([1, 2], [1, 2])),
        ("{'input_ids': [0, 1], 'labels': [-100, 1], 'attention_mask': [0, 1]}", ([1], [1])),
    ],
)  # fmt: skip
def test_ready_ids_become_lists_without_padding(row, ready, tmp_path):
    rows = [checked(row) for row in returned(tmp_path, f"[{row}]", "import numpy as np")]
    assert rows == [dict(zip(("input_ids", "labels"), ready, strict=True))]
    assert {type(number) for column in rows[0].values() for number in column} == {int}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"input_ids": [1, 2]}, "has input_ids, but no labels; -100 is for what is not learned"),
        ({"input_ids": [1, 2], "labels": [1]}, "labels has 1 values, input_ids 2"),
        ({"input_ids": [], "labels": []}, "input_ids is empty"),
        ({"input_ids": [[1]], "labels": [1]}, "input_ids has other things than whole numbers"),
        ({"input_ids": [1.5], "labels": [1]}, "input_ids has other things than whole numbers"),
        ({"input_ids": "a", "labels": [1]}, "input_ids is str, not a list of numbers"),
        ({"input_ids": [-1], "labels": [1]}, "input_ids has a number below 0"),
        ({"input_ids": [1], "labels": [-1]}, "labels has a number below 0 that is not -100"),
        ({"input_ids": [1], "labels": [1], "attention_mask": [0]},
         "attention_mask lets no token through"),
        ({"input_ids": [1], "labels": [1], "attention_mask": [1, 1]},
         "attention_mask is not a 1 or 0 for each of input_ids"),
        ({"input_ids": [1] * 3, "labels": [1] * 3, "attention_mask": [1, 0, 1]},
         "attention_mask has a 0 between tokens; only padding may be masked"),
    ],
)  # fmt: skip
def test_ready_ids_that_cannot_be_learned_are_faults_of_their_rows(row, reason, tmp_path):
    good = {"input_ids": [1], "labels": [1]}
    assert [checked(row) for row in returned(tmp_path, [row, good])] == [reason, good]


@pytest.mark.parametrize(
    ("parameters", "seen"),
    [
        ("config, tokenizer, split", "config, tokenizer, split"),
        ("dataset_config, tokenizer, split", "dataset_config, tokenizer, split"),
        ("split, config, tokenizer", "config, tokenizer, split"),
        ("tokenizer, split, config, *, size=3", "config, tokenizer, split"),
    ],
)
def test_arguments_are_known_by_their_names(parameters, seen, tmp_path):
    kinds = f"[type(value).__name__ for value in ({seen})]"
    (row,) = rows_of(tmp_path, f"def get_custom_dataset({parameters}):\n"
                     f"    return [{{'kinds': {kinds}}}]\n")  # fmt: skip
    assert row["kinds"][::2] == ["TrainConfig", "str"]
    assert "Tokenizer" in row["kinds"][1]


@pytest.mark.parametrize(
    ("parameters", "seen"),
    [("", "1"), ("split", "split"), ("size=7", "size"), ("config", "config.encoding"),
     ("dataset_config, *args, **named", "dataset_config.encoding"), ("*, split", "split")],
)  # fmt: skip
def test_a_function_that_takes_no_tokenizer_loads_none(parameters, seen, tmp_path, monkeypatch):
    monkeypatch.delattr(backend, "load_tokenizer")
    (row,) = rows_of(tmp_path, f"def get_custom_dataset({parameters}):\n"
                     f"    return [{{'seen': {seen}}}]\n", split="test")  # fmt: skip
    assert row["seen"] in (1, "test", 7, "utf-8")


def test_the_function_named_behind_the_colon_is_called(tmp_path):
    source = f"def get_foo():\n    return [{ROW}]\n"
    (tmp_path / "package").mkdir()
    assert rows_of(tmp_path, source, "package/my.py", ":get_foo") == [ROW]
    assert read(f"{tmp_path}/package/my.py:get_foo")[0][0] == (
        f"{tmp_path}/package/my.py:get_foo row 1"
    )
    assert not list(tmp_path.rglob("__pycache__"))


@pytest.mark.parametrize(
    ("function", "split", "rows", "columns"),
    [
        ("", "train", 50, {"messages"}),
        (":get_sums", "test", 5, {"instruction", "input", "output"}),
        (":get_ids", "train", 20, {"input_ids", "labels"}),
    ],
)
def test_the_example_gives_rows(function, split, rows, columns):
    found = read(f"{EXAMPLE}{function}", split)
    assert len(found) == rows
    assert all(set(row) == columns for _, row in found)


@pytest.mark.parametrize(
    ("source", "function", "problem"),
    [
        ("def get_fou(): ...", ":get_foo",
         "mine.py has no function 'get_foo'. Did you mean 'get_fou'? Its functions: get_fou."),
        ("x = 1", "", "mine.py has no function 'get_custom_dataset'. It has none."),
        ("def get_custom_dataset(rows): ...", "",
         "mine.py:get_custom_dataset takes 'rows'; a function of rows takes config, tokenizer, "
         "split, or any of them, by these names. (mine.py:1)"),
        ("def f(:\n", "", "The dataset's file mine.py is not Python: invalid syntax (mine.py:1)."),
        ("\nimport nowhere\n", "", "The dataset's file mine.py cannot be loaded: "
         "ModuleNotFoundError: No module named 'nowhere' (mine.py:2)"),
        ("def get_custom_dataset():\n    return []\n", "",
         "mine.py:get_custom_dataset is empty: it returned no rows. (mine.py:1)"),
    ],
    ids=["near-miss", "none", "strange-argument", "syntax", "import", "no-rows"],
)  # fmt: skip
def test_a_file_without_such_a_function_is_refused(source, function, problem, tmp_path):
    assert problem_of(UserError, tmp_path, source, function=function) == problem


def test_a_file_that_is_not_there_is_refused(here):
    (here / "my_rows.py").write_text("")
    with pytest.raises(UserError, match=r"^No such file: my_row\.py\. Did you mean 'my_rows\.py'"):
        read("my_row.py:get_foo")


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("return None", "returned NoneType; return a list of rows, a Dataset or a stream."),
        ("return 'rows.json'", "returned str; return a list of rows, a Dataset or a stream."),
        ("return {'a': [1]}", "returned dict; return a list of rows, a dict each."),
        ("import datasets; return datasets.DatasetDict({'train': None})",
         "returned DatasetDict; return one split of it, dataset[split]."),
        ("import pandas; return pandas.DataFrame([{'a': 1}])",
         "returned DataFrame; return its rows, frame.to_dict('records')."),
        ("return object", "returned the class object; return a list of rows, a Dataset or a stre"),
        ("return [{}, 3]", " row 2 is int; give a dict of columns, or a list of messages."),
        ("return [({}, {})]", " row 1 is tuple; give a dict of columns, or a list of messages."),
        ("return ['a']", " row 1 is str; give a dict of columns, or a list of messages."),
        ("raise KeyError('x')", "raised (mine.py:2): KeyError: 'x'"),
        ("import sys; sys.exit()", "raised (mine.py:2): SystemExit"),
        ("yield {}; 1 / 0", "raised (mine.py:2): ZeroDivisionError: division by zero"),
        ("return map(lambda n: {}[n], [1])", "raised (mine.py:2): KeyError: 1"),
    ],
)  # fmt: skip
def test_what_a_function_does_wrong_names_its_line(body, problem, tmp_path):
    said = problem_of(PluginError, tmp_path, f"def get_custom_dataset():\n    {body}\n")
    begin = "mine.py:get_custom_dataset"
    assert said.removeprefix(begin).strip().startswith(problem.strip())
    assert said.startswith(begin) and "(mine.py:" in said
