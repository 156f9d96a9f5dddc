"""Template files: found by name or path, and their mistakes."""

import json

import pytest
from click.testing import CliRunner
from conftest import ROOT, refused, run_script
from plugins_made import hooks_of, write

import train
from threetoe.__main__ import cli
from threetoe.errors import UserError
from threetoe.prompt.template_file import find_template, known_templates, read_template

ALPACA = ROOT / "templates" / "alpaca.yaml"


def test_a_template_bears_the_name_that_it_is_registered_under():
    known = {"MyQA": ALPACA, "alpaca": ALPACA}
    assert find_template("MyQA", known).name == "MyQA"
    assert find_template("###Alpaca", known).name == "alpaca"


@pytest.mark.parametrize("name", ["./my.json", "mine.ymal", "folder/mine"])
def test_what_looks_like_a_file_is_told_how_files_are_named(name):
    with pytest.raises(UserError, match="a template's file ends in .yaml"):
        find_template(name, {"alpaca": ALPACA})


@pytest.mark.parametrize("name", ["rank", "from-tokenizer"])
def test_a_plugin_cannot_take_the_name_of_a_command(name, tmp_path):
    write(tmp_path, p=f"def register_templates():\n    return {{{name!r}: ''}}\n")
    with pytest.raises(UserError, match=f"'{name}' is no template's name; rename it"):
        known_templates(hooks_of(str(tmp_path / "p.py")), None)


def test_a_key_that_stands_twice_is_named_with_both_lines(tmp_path):
    text = ALPACA.read_text(encoding="utf-8")
    (tmp_path / "mine.yaml").write_text(f"{text}eos: a\neos: b\n", encoding="utf-8")
    lines = text.count("\n")
    with pytest.raises(UserError, match=rf":{lines + 2}: 'eos' stands in line {lines + 1} too"):
        read_template(tmp_path / "mine.yaml")


def test_answers_with_a_stop_string_in_them_are_counted(here):
    rows = [{"prompt": "a", "completion": text} for text in ("b", "c\n### Human: d")]
    (here / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
    options = "--model tiny --dataset rows.json --template human --preview 1".split()
    said = run_script("train.py", *options, cwd=here).stderr
    assert "1 answer contains '\\n### Human:', where infer.py stops (first: rows.json:1)" in said


def test_a_template_that_is_no_text_is_one_line(here):
    (here / "mine.yaml").write_bytes(b"\xff\xfe\x00")
    (line,) = refused(train, "--template", "mine.yaml")
    assert line.startswith("mine.yaml")


def test_a_template_is_shown_with_the_tokens_of_a_run_and_not_of_a_folder_that_is_not_there(
    three_steps, here
):
    shown = CliRunner().invoke(cli, ["templates", "human", "--jinja", "--model", str(three_steps)])
    assert '{{- "<|begin_of_text|>" -}}' in shown.output
    missing = CliRunner().invoke(cli, ["templates", "human", "--model", "./nowhere"])
    assert "./nowhere: no such folder" in str(missing.exception)
