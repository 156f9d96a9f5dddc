"""Answers beside the fields of the rows that asked, as jsonl, json, csv and parquet."""

import csv
import json
from pathlib import Path

COMMON = ("where", "messages", "question", "input", "expected")  # to the answers of all runs


def fields_of(questions: list) -> set[str]:
    """The names of fields that rows of --file bring."""
    return {name for question in questions for name in question.row}


def joined(questions: list, rows: list[dict], taken: set, is_flat: bool = False) -> list[dict]:
    """The fields of each question's row, and behind them ours: a name that is `taken` has `model_`
    before it. `is_flat` is for a table without lists."""
    ours = [flat(row) if is_flat else row for row in rows]
    names = {name: name for row in ours for name in row}
    for name in names:
        while names[name] in taken:
            names[name] = f"model_{names[name]}"
    again = ("messages", "question", "input")  # what was asked: a row's own fields say it
    return [
        q.row | {names[k]: v for k, v in row.items() if not (q.row and k in again)}
        for q, row in zip(questions, ours, strict=True)
    ]


def side_by_side(questions: list, answers: dict[str, list[dict]], is_flat: bool) -> list[dict]:
    """The same with the answers of several runs: `answer (NAME)`, `cut (NAME)` of each."""
    made = []
    for rows in zip(*answers.values(), strict=True):
        rows = [flat(row) for row in rows] if is_flat else rows
        both = {k: v for k, v in rows[0].items() if k in COMMON}
        for name, row in zip(answers, rows, strict=True):
            both |= {f"{k} ({name})": v for k, v in row.items() if k not in COMMON}
        made.append(both)
    return joined(questions, made, fields_of(questions))


def write_jsonl(path: Path, rows: list[dict]) -> None:
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    path.write_text("".join(lines), encoding="utf-8")


def write_json(path: Path, rows: list[dict]) -> None:
    path.write_text(json.dumps(rows, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def write_csv(path: Path, rows: list[dict]) -> None:
    """With a byte order mark, by which spreadsheets know that it is UTF-8."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows({name: cell(value) for name, value in row.items()} for row in rows)


def cell(value):
    """A value of a table, lists as JSON."""
    is_nested = isinstance(value, (list, dict))
    return json.dumps(value, ensure_ascii=False) if is_nested else value


def write_parquet(path: Path, rows: list[dict]) -> None:
    from pyarrow import parquet, table

    names = dict.fromkeys(name for row in rows for name in row)
    parquet.write_table(table({name: column([r.get(name) for r in rows]) for name in names}), path)


def column(values: list):
    """Values of a row's field for Arrow; as texts where their kinds differ from row to row."""
    import pyarrow
    from pyarrow import parquet

    try:
        made = pyarrow.array(values)
        parquet.write_table(pyarrow.table({"": made}), pyarrow.BufferOutputStream())
        return made
    except (pyarrow.ArrowException, OverflowError):
        return pyarrow.array([None if v is None else str(cell(v)) for v in values])


def flat(row: dict) -> dict:
    """A row of ours without lists: the last question and its input, a column a probability."""
    last = row["messages"][-1]
    found = {"where": row["where"], "question": last["content"], "input": last.get("input")}
    found |= {k: v for k, v in row.items() if k not in ("messages", "probabilities")}
    shares = row.get("probabilities", {})
    return found | {f"probability of {name}": share for name, share in shares.items()}


WRITERS = {".jsonl": write_jsonl, ".json": write_json, ".csv": write_csv, ".parquet": write_parquet}
