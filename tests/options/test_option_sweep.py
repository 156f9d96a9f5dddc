"""Whatever an option is given, and whatever a --config file holds, is answered in lines."""

import time
from functools import cache
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import export
import infer
import train
from threetoe.hooks import load
from threetoe.options.reporting import LONGEST

VALUES = ["1e308", "-1", "nan", "inf", "9" * 30, "9" * 5000, "0x10", "", "١٢", "[1]", "a=b=c", "="]
PLACES = ["loop", "lost", "", "rows.json/x", ".", "~nobody/x", "x" * 5000, "run", "\udcff", "\t"]
YAML = [
    "labels: {2020-01-01: x}", "a: !!python/object:os.system {}", "options: []\nthreetoe: '9'",
    "options: {plugin: [5]}\nthreetoe: '9'\nplugins: [5]", "? [a]\n: b", "plugins: 5",
    "plugins: {a: b}", "map: 5", "settings: [5]", "dataset: [[a], b]", 'output_dir: "a\\0b"',
    'template: "\\ud800"', "lora_r: .inf", "lora_r: 1:30", "seed: 2020-01-01", "- - -", "\x00",
    "&a *a", "{a: 1", "a: &x [*x]", "1: 2", "null: 2", "lora_r: 1\nlora-r: 2", "[" * 5000,
]  # fmt: skip


def sweep():
    """(script, arguments) of calls that each have one more mistake, so that none is run."""
    for script in (train, infer, export):
        few = ["--dataset", "rows.json"] if script is train else []
        for param in script.main.params:
            if not isinstance(param, click.Option) or param.is_flag:
                continue
            is_text = param.type.name in ("text", "file", "path")
            for value in PLACES if is_text else VALUES:
                rows = [] if param.name == "dataset" else few
                yield script, [*rows, f"{param.opts[0]}={value}", "--bogus"]
        for number, text in enumerate(YAML):
            name = f"{number}.yaml"
            Path(name).write_text(text, encoding="utf-8")
            yield script, [*few * ("dataset:" not in text), "--config", name, "--bogus"]


def test_no_value_of_an_option_ends_in_a_traceback(here, monkeypatch):
    monkeypatch.setattr(load, "entry_points", cache(load.entry_points))  # two thirds of the time
    Path("loop").symlink_to("loop")
    Path("lost").symlink_to("gone")
    Path("run").mkdir()
    Path("rows.json").write_text('[{"prompt": "a", "completion": "b"}]')
    Path("run/run.json").write_text("{}")
    calls = 0
    for calls, (script, args) in enumerate(sweep(), 1):  # noqa: B007
        began = time.process_time()
        done = CliRunner().invoke(script.main, args)
        what = script.__name__, [arg[:60] for arg in args], done.exception
        assert done.exit_code == 2 and isinstance(done.exception, SystemExit), what
        lines = done.stderr.splitlines()
        assert lines[-1].startswith("Error: ") and "Traceback" not in done.stderr, (what, lines)
        assert max(map(len, lines)) < LONGEST + 100, what
        assert time.process_time() - began < 2, what
    assert calls >= 300


@pytest.mark.parametrize("text", ["k: &k [*k]", "[" * 100_000])
def test_yaml_that_has_no_bottom_is_one_line(text, here):
    Path("deep.yaml").write_text(text, encoding="utf-8")
    done = CliRunner().invoke(train.main, ["--config", "deep.yaml", "--bogus"])
    assert (done.exit_code, len(done.stderr.splitlines())) == (2, 2)
