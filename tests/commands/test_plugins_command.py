"""python -m threetoe plugins: what is loaded, and what a command calls, held to real runs."""

import re
import sys
from pathlib import Path

import pytest
from conftest import refused, run_script
from recorders import calls_in, in_order, write_recorders

import export
import infer
import train
from threetoe.__main__ import main
from threetoe.commands import explain
from threetoe.hooks import specs
from threetoe.hooks.plugin import HOOKS

SETTINGS = """\
from dataclasses import dataclass

@dataclass(frozen=True)
class Settings:
    limit: int = 20
    loud: bool = False

def map_reply(reply):
    return reply
"""


def ask(capsys, monkeypatch, *words, code=0):
    """What python -m threetoe plugins prints for these words, on both channels."""
    monkeypatch.setattr(sys, "argv", ["threetoe", "plugins", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert (ended.value.code or 0) == code
    return capsys.readouterr()


@pytest.fixture
def plugins(capsys, monkeypatch):
    return lambda *words, **code: ask(capsys, monkeypatch, *words, **code)


def explained(printed):
    """[(hook, plugins)] of what explain printed as called, the built-in left out."""
    rows = [re.split(" {2,}", line.strip()) for line in printed.partition("\n\n")[0].splitlines()]
    return [(hook, re.findall(r"\w+\.py\b", names)) for _, hook, _, names in rows[1:]]


REHEARSED = [  # what the fixture has run, as it may be run again
    "train.py --dataset rows.jsonl --output-dir again",
    "infer.py --run run --template alpaca Hello",
    "export.py --run run --template alpaca --adapter again --merged both",
]
WITH_ROWS = "infer.py --run run --template alpaca --file rows.jsonl --max-new-tokens 2"


@pytest.mark.parametrize("command", REHEARSED)
def test_explain_prints_the_order_of_the_calls_of_a_real_run(
    rehearsed, plugins, monkeypatch, command
):
    done, folder = rehearsed
    monkeypatch.chdir(done.run.parent)
    calls = explained(plugins("explain", *command.split(), *in_order(folder)).out)
    really = list(dict(calls_in(folder / "calls.txt", command.partition(".")[0])))
    assert [hook for hook, _ in calls if hook in really] == really
    assert {tuple(names) for _, names in calls} == {("b.py", "a.py")}


def test_every_hook_that_explain_prints_is_called_where_options_ask_for_it(
    rehearsed, plugins, monkeypatch, tmp_path
):
    done, folder = rehearsed
    monkeypatch.chdir(done.run.parent)
    write_recorders(tmp_path)
    script, *words = [*WITH_ROWS.split(), *in_order(tmp_path)]
    run_script(script, *words, cwd=done.run.parent)
    notes = {"train": folder, "infer": tmp_path, "export": folder}
    for command in (REHEARSED[0], WITH_ROWS, REHEARSED[2]):
        script = command.partition(".")[0]
        called = {hook for hook, _ in explained(plugins("explain", *command.split()).out)}
        assert called == {hook for hook in HOOKS if script in getattr(specs, hook).scripts}
        asked_for = called - ({"register_metrics"} if script == "train" else set())  # by --metrics
        assert asked_for == set(dict(calls_in(notes[script] / "calls.txt", script)))


def test_explain_says_rule_and_order_and_what_is_not_called(here, plugins):
    write_recorders(here)
    order = ["--plugin", "b.py", "--plugin", "a.py"]
    lines = plugins("explain", "train.py", "--preview", 1, *order).out.splitlines()
    rows = {line.split()[1]: line for line in lines[1 : lines.index("")]}
    assert rows["register_templates"].endswith("answers merge      b.py + a.py + threetoe.builtin")
    assert rows["load_rows"].endswith("first answer wins  b.py, else a.py, else threetoe.builtin")
    assert rows["map_messages"].endswith("passed through     b.py -> a.py")
    left = lines[lines.index("not called:") + 1 :]
    assert [line.split()[0] for line in left] == [hook for hook in HOOKS if hook not in rows]
    assert left[-1].split(maxsplit=1) == ["after_export", "told               b.py, a.py"]


@pytest.mark.parametrize(
    "words",
    [
        "train --dataset mine.json --lora-q 4",
        "train --plugin nowhere.py --learning-rate -1",
        "infer --run nowhere Hello",
        "infer --file nowhere.json",
        "export",
        "export --config mine.yaml",
    ],
)
def test_mistakes_of_an_explained_command_are_told_as_by_its_script(here, plugins, words):
    script, *args = words.split()
    by_script = refused({"train": train, "infer": infer, "export": export}[script], *args)
    printed = plugins("explain", f"{script}.py", *args, code=2)
    assert printed.err.splitlines() == [f"Error: {line}" for line in by_script]
    assert printed.out == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "Error: Name a command of train.py, infer.py or export.py: "),
        (["python"], "Error: Name a command of train.py, infer.py or export.py: "),
        (["trian.py"], "Error: 'trian.py' is none of these. Did you mean 'train.py'? Name a comm"),
        (["--preview"], "Error: '--preview' is none of these. Name a command of train.py, "),
    ],
)
def test_explain_asks_for_a_command_of_the_scripts(plugins, words, said):
    assert plugins("explain", *words, code=2).err.startswith(said)


@pytest.mark.parametrize("word", ["explain", "new"])
def test_a_plugin_that_would_be_passed_over_is_refused(plugins, word):
    said = plugins("--plugin", "mine.py", word, "x", code=2).err
    assert said.startswith(f"Error: --plugin mine.py before '{word}' does nothing; ")


def test_plugins_are_listed_in_order_with_origin_hooks_and_settings(here, capsys, monkeypatch):
    (here / "limits.py").write_text(SETTINGS, encoding="utf-8")
    (here / "longer_name.py").write_text("def map_card(card):\n    return card\n")
    monkeypatch.setattr(
        sys, "argv", "threetoe --plugin longer_name.py plugins --plugin limits.py".split()
    )
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    lines = capsys.readouterr().out.splitlines()
    assert lines[:6] == [
        f" 1  longer_name.py    named     {here}/longer_name.py",
        "      hooks    map_card",
        f" 2  limits.py         named     {here}/limits.py",
        "      hooks    map_reply",
        "      setting  limits.limit: int = 20",
        "      setting  limits.loud: bool = False",
    ]
    # its file, or the version where Threetoe is installed
    builtin = re.escape(str(Path(explain.__file__).parents[1] / "builtin.py"))
    assert re.fullmatch(rf" 3  threetoe\.builtin  built-in  ({builtin}|threetoe \S+)", lines[6])
    assert lines[7].startswith("      hooks    register_templates, register_datasets, ")


def test_what_cannot_be_loaded_is_told_below_the_list(here, plugins):
    (here / "good.py").write_text("def map_reply(reply):\n    return reply\n")
    printed = plugins("--plugin", "good.py", "--plugin", "bad.py", code=2)
    assert printed.out.startswith(" 1  good.py")
    assert printed.err == "Error: Plugin bad.py: No such file: bad.py.\n"
