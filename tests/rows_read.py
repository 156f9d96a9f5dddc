"""Reads the rows of files made for a test."""

import pytest

from threetoe.backend import model as backend
from threetoe.data.sources.source import Source, read_source
from threetoe.errors import UserError
from threetoe.messages import Unusable
from threetoe.options.train import TrainConfig


def read(source, split="train", subset=None, **options):
    """All rows of a source; a fault as its text."""
    given = {"config": TrainConfig, "tokenizer": lambda: backend.load_tokenizer("tiny")}
    rows = read_source(Source(str(source), split, subset, **options), given)
    return rows and [(at, str(row) if isinstance(row, Unusable) else row) for at, row in rows]


def rows_of(path, text, split="train", **options):
    """The rows of a file with this text (or these bytes), the file's folder taken off."""
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    rows = read(path, split, **options)
    return [(where.removeprefix(f"{path.parent}/"), row) for where, row in rows]


def problem_of(path, text, split="train", **options):
    """What is said of a broken file, its folder taken off."""
    with pytest.raises(UserError) as raised:
        rows_of(path, text, split, **options)
    (problem,) = raised.value.problems
    assert "\n" not in problem
    return problem.replace(f"{path.parent}/", "")
