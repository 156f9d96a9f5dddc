"""Malformed files of every kind: each row is read or is a fault, nothing else is raised."""

import json
import re
from collections import Counter

import malformed
import pytest
from conftest import TINY
from pyarrow import ArrowException, parquet

from threetoe.backend import model as backend
from threetoe.data.columns import Recogniser
from threetoe.data.formats import FORMATS
from threetoe.data.ledger import Ledger
from threetoe.data.read import read_conversations
from threetoe.data.sources.source import Source, read_source
from threetoe.errors import UserError
from threetoe.hooks.load import load_plugins
from threetoe.messages import Unusable
from threetoe.options.train import TrainConfig
from threetoe.prompt.template_file import find_template, known_templates
from threetoe.prompt.tokenizer import marks_of
from threetoe.train.prepare import Prompting, complete_ledger, encode_conversations

SEED, COUNT = 20240229, 360
NEWLINE = re.compile(r"\r\n|\n|\r")


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """(path, kind, rows with their messages or their faults, the problem of the whole file)."""
    made = malformed.files(tmp_path_factory.mktemp("malformed"), SEED, COUNT)
    return [(path, kind, *outcome_of(path)) for path, kind in made]


def outcome_of(path):
    found, recogniser = [], Recogniser(FORMATS, (), answered=True)
    try:
        for where, row in read_source(Source(str(path)), {}):
            try:
                if isinstance(row, Unusable):
                    raise row
                found.append((where, recogniser.messages_of(row)))
            except Unusable as fault:
                found.append((where, str(fault)))
    except UserError as error:
        return found, str(error)
    return found, None


def count_of(path):
    """How many rows another count finds; None where it cannot be told."""
    data = path.read_bytes()
    if data.startswith(b"\x1f\x8b"):
        return None
    text = data.decode("utf-8-sig", "replace")
    if path.suffix == ".parquet":
        try:
            return parquet.read_metadata(path).num_rows
        except (ArrowException, OSError):
            return None
    if path.suffix == ".jsonl":
        return sum(bool(line.strip()) for line in NEWLINE.split(text))
    if path.suffix == ".json":
        try:
            rows = json.loads(text)
        except (ValueError, RecursionError):
            return None
        return len(rows) if isinstance(rows, list) else None
    lines = [line for line in NEWLINE.split(text) if line]
    if path.suffix in (".csv", ".tsv") and all(line.count('"') % 2 == 0 for line in lines):
        return len(lines) - 1  # no quoted text goes over lines
    return None


def test_there_are_enough_files_all_different(outcomes):
    assert len({path.read_bytes() for path, *_ in outcomes}) >= 300
    kinds = {kind for _, kind, *_ in outcomes}
    assert len(kinds) >= 95
    assert max(path.stat().st_size for path, *_ in outcomes) > malformed.CELL


def test_every_row_says_where_it_stands(outcomes):
    for path, kind, rows, _ in outcomes:
        place = re.compile(re.escape(str(path)) + r"(:\d+|: row \d+)")
        assert all(place.fullmatch(where) for where, _ in rows), kind


def test_every_fault_and_every_problem_is_one_line(outcomes):
    for path, kind, rows, problem in outcomes:
        assert all(found and "\n" not in found for _, found in rows if isinstance(found, str)), kind
        assert problem is None or (str(path) in problem and "\n" not in problem), kind


def test_a_problem_of_a_text_file_says_the_line(outcomes):
    whole = ("is empty: it holds no rows", "damaged or cut short")
    said = [(path, problem) for path, _, _, problem in outcomes if problem]
    texts = [(p, m) for p, m in said if p.suffix != ".parquet" and not any(w in m for w in whole)]
    assert len(texts) > 40
    assert [message for path, message in texts if not message.startswith(f"{path}:")] == []


def test_rows_read_and_faults_are_all_rows_that_are_there(outcomes):
    known = Counter()
    for path, kind, rows, problem in outcomes:
        count = count_of(path)
        if problem is None and count is not None:
            assert len(rows) == count, (path, kind)
            known[path.suffix] += 1
    assert min(known.values()) >= 10 and len(known) == 5, known


def test_faults_are_found_in_every_kind_of_file(outcomes):
    faulty = Counter(p.suffix for p, _, rows, _ in outcomes for _, f in rows if isinstance(f, str))
    good = Counter(p.suffix for p, _, rows, _ in outcomes for _, f in rows if isinstance(f, list))
    assert min(faulty.values()) >= 20 and len(faulty) == 5
    assert min(good.values()) >= 20 and len(good) == 5


@pytest.fixture(scope="module")
def ledgers(outcomes):
    """(path, ledger, its log, the problem) of every file small enough to encode quickly."""
    tokenizer = backend.load_tokenizer(str(TINY))
    config = TrainConfig()
    hooks = load_plugins(config)
    alpaca = find_template("alpaca", known_templates(hooks, config))
    prompting = Prompting(alpaca, marks_of(tokenizer), tokenizer, 512, False)
    paths = [path for path, *_ in outcomes if path.stat().st_size < 10**6]
    return [(path, *ledger_of(path, hooks, prompting)) for path in paths]


def ledger_of(path, hooks, prompting):
    config = TrainConfig(dataset=str(path), allow_dropped=1.0)
    try:
        conversations, ledger = read_conversations(config, hooks)
        rows = encode_conversations(conversations, prompting)
        complete_ledger(rows, ledger, config)
    except UserError as error:
        return Ledger(""), [], error.problems
    logs = [folder / "data.jsonl" for folder in (conversations.folder, rows.folder)]
    lines = "".join(log.read_text(encoding="utf-8") for log in logs).splitlines()
    return ledger, [json.loads(line) for line in lines], None


def test_the_ledger_balances_and_its_log_has_every_row_with_its_place(ledgers):
    assert len(ledgers) >= 300
    balanced = [(path, ledger, log) for path, ledger, log, problem in ledgers if problem is None]
    assert len(balanced) > 100
    for path, ledger, log in balanced:
        left_out = [entry for entry in log if entry["what"] != "truncated"]
        assert ledger.read == ledger.kept + len(left_out), path
        assert len(left_out) == ledger.faults + sum(ledger.skipped.values()), path
        assert len(log) - len(left_out) == ledger.truncated, path
        place = re.compile(re.escape(str(path)) + r"(:\d+|: row \d+)")
        assert all(place.fullmatch(entry["where"]) for entry in log), path


def test_what_stops_a_training_names_the_file_and_the_flag_or_the_row(ledgers):
    stopped = [(path, problems) for path, _, _, problems in ledgers if problems]
    assert len(stopped) > 40
    for path, problems in stopped:
        assert str(path) in problems[0], problems
        assert all("\n" not in problem for problem in problems)
