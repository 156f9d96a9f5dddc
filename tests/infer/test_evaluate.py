"""--evaluate, --compare-base, --blind: base and run asked in one call, scored, kept."""

import json
import shutil

import pytest
from click.testing import CliRunner
from conftest import ROOT, TINY, refused, run_script
from pyarrow import csv, parquet

import infer
from threetoe import api
from threetoe.export.card.facts import evaluations_in
from threetoe.infer import blind
from threetoe.machine.terminal import width_of
from threetoe.options.infer import InferConfig
from threetoe.run.losses import picture_in

ASKED = ("--evaluate", "--compare-base", "--max-new-tokens", 8)


@pytest.fixture(scope="module")
def place(demo, tmp_path_factory):
    """A folder with a copy of the demo's run, and the 24 first rows that it has not seen."""
    folder = tmp_path_factory.mktemp("evaluate")
    shutil.copytree(demo[0], folder / "demo")
    lines = (ROOT / "datasets" / "sentiment" / "test.jsonl").read_text(encoding="utf-8").split("\n")
    (folder / "rows.jsonl").write_text("\n".join(lines[:24]) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def evaluated(place):
    """What the scripts say of two evaluations, and what each keeps."""
    found = []
    for _ in range(2):
        done = run_script("infer.py", "--run", "demo", "--file", "rows.jsonl", *ASKED, cwd=place)
        kept = (place / "demo" / "evaluations" / "rows.metrics.json").read_text(encoding="utf-8")
        found.append((done.stderr, kept))
    return found


def rows_of(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_figures_are_the_same_when_run_twice(evaluated):
    assert evaluated[0] == evaluated[1]


def test_each_side_is_what_the_model_answers_alone(evaluated, place):
    rows = rows_of(place / "demo" / "evaluations" / "rows.jsonl")
    asked = {"run": place / "demo", "file": str(place / "rows.jsonl"), "max_new_tokens": 8}
    assert [row["answer"] for row in rows] == api.infer(**asked)
    assert [row["base"] for row in rows] == api.infer(**asked, adapter=False)
    assert len(rows) == 24 and rows[0]["base"] != rows[0]["answer"]


def test_a_table_of_80_columns_says_what_changed(evaluated, place):
    said, kept = evaluated[0][0], json.loads(evaluated[0][1])
    assert max(map(width_of, said.splitlines())) <= 80
    assert "label" in said and "precision" in said and "confusion matrix in demo/conf" in said
    gained, lost = kept["changed"]["wrong to right"], kept["changed"]["right to wrong"]
    assert (
        f"from wrong to right {len(gained)}, from right to wrong {len(lost)} (sign test: " in said
    )
    assert len(gained) > 12 and gained[0].keys() == {"where", "base", "trained", "expected"}
    assert gained[0]["where"].endswith("rows.jsonl:1") and gained[0]["trained"] != gained[0]["base"]
    assert kept["metrics"]["accuracy"] > 0.8 > kept["base"]["metrics"]["accuracy"]
    low, high = kept["intervals"]["accuracy"]
    assert low < kept["metrics"]["accuracy"] <= high


def test_it_is_kept_where_the_card_finds_it(evaluated, place):
    base, run = evaluations_in(place / "demo")[-2:]
    assert (base["adapter"], run["adapter"]) == (False, True)
    assert run["labels"] == json.loads(evaluated[0][1])["labels"] and run["answers"] == 24
    assert picture_in(place / "demo", "confusion.png")


def test_any_file_with_some_answers_missing_composes_with_constrain_to(place):
    rows = [
        {"prompt": "The soup was cold.", "completion": "NEGATIVE"},
        {"prompt": "Lovely!", "completion": "Positive"},
        {"prompt": "Which is it?"},
    ]
    (place / "some.json").write_text(json.dumps(rows), encoding="utf-8")
    for end, read in ((".csv", csv.read_csv), (".parquet", parquet.read_table)):
        flags = ["--constrain-to", "Positive,Negative", "--output", f"in{end}"]
        done = run_script("infer.py", "--run", "demo", "--file", "some.json", *ASKED, *flags,
                          cwd=place)  # fmt: skip
        assert "1 of 3 rows have no answer to compare with\n2 answers, shares" in done.stderr
        table = read(place / f"in{end}").to_pydict()
        assert set(table["answer"]) | set(table["base"]) <= {"Positive", "Negative"}
        kept = json.loads((place / "in.metrics.json").read_text(encoding="utf-8"))
        (place / "in.metrics.json").unlink()
    assert list(kept["labels"]) == ["NEGATIVE", "Positive"] and kept["metrics"]["exact"] <= 0.5


def test_what_has_nothing_to_work_on_is_one_line_before_the_model_loads(place, monkeypatch):
    monkeypatch.chdir(place)
    (place / "asked.json").write_text('[{"prompt": "a"}]')
    run, rows = ("--run", "demo"), ("--file", "rows.jsonl")
    for words, said in (
        ([*run, "--evaluate"], "--evaluate goes with --file FILE: its rows are asked."),
        ([*run, "--compare-base", "Hello"], "--compare-base goes with --file FILE"),
        ([*run, "--file", "asked.json", "--evaluate"], "has an answer to compare with"),
        ([*run, *rows, "--compare-base", "--no-adapter"], "leave out --no-adapter"),
        ([*run, *rows, "--blind", 3], "--blind shows answers of base and run: add --compare-base"),
        ([*run, *rows, "--blind", 3, "--compare-base"], "needs a terminal"),
        ([*run, "--web", "--evaluate"], "--web asks for questions itself; leave out --evaluate"),
        (["--run", TINY, "--template", "alpaca", *rows, "--evaluate"], "--output FILE"),
    ):  # fmt: skip
        assert said in "\n".join(refused(infer, *words)), words
    with pytest.raises(api.UserError, match="infer.py has --compare_base|compare-base"):
        api.infer("Hi", compare_base=True)


def test_blind_words_are_counted_kept_and_end_with_the_input(here, capsys):
    rows = [
        {"where": f"rows.json:{n}", "messages": [{"role": "user", "content": f"Q{n}"}],
         "base": "b" * (n % 5), "answer": "a" * (n % 5)}
        for n in range(1, 11)
    ]  # fmt: skip
    config = InferConfig(output=here / "a.jsonl", blind=6)
    shown = []
    for typed in ("1\n=\n2\nx\n1\n", "1\n=\n2\nx\n1\n", ""):
        with CliRunner().isolation(input=typed) as (_, said, _):
            blind.compare(rows, config)
            shown.append(said.getvalue().decode())
    assert shown[0] == shown[1]  # the same order of the same seed
    assert "2 of 10 answers of base and run are the same" in shown[0] and "[1 of 6] Q" in shown[0]
    assert "preferred: " not in shown[2]  # nobody said a word
    kept = json.loads((here / "a.blind.json").read_text(encoding="utf-8"))
    assert kept["trained"] + kept["base"] == 3 and kept["neither"] == 1 and kept["p"] == 1
    for one, line in zip(kept["given"], [0, None, 1, 0], strict=True):
        letters = {"trained": "a", "base": "b"}
        question = shown[0].split(f"Q{one['where'].split(':')[1]}\n")[1]
        preferred = question.split(f"{(line or 0) + 1}: ")[1][0]
        assert line is None or preferred == letters[one["better"]]
