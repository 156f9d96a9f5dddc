"""threetoe.testing: the rehearsal that plugins are tested with."""

import subprocess
import sys

import pytest
from conftest import ROOT

FAULTY = "def map_messages(messages):\n    return messages[7]\n"


def test_a_rehearsal_trains_asks_and_exports(rehearsed):
    done, _ = rehearsed
    assert done.metrics["steps"] == 3
    assert (done.run / "adapter_model.safetensors").is_file()
    assert (done.exported / "adapter_model.safetensors").is_file()
    assert done.answer and done.answer in done.printed
    assert "5 rows read from rows.jsonl" in done.printed


def test_a_rehearsal_takes_plugins_rows_and_options(rehearsed):
    done, folder = rehearsed
    options = done.record["options"]
    assert (done.record["data"]["trained"], options["max_seq_length"]) == (5, 64)
    assert options["plugin"] == [str(folder / "b.py"), str(folder / "a.py")]
    assert (done.run.parent / "merged" / "model.safetensors").is_file()


def test_a_rehearsal_that_fails_shows_the_command_and_what_it_said(rehearsal, tmp_path):
    (tmp_path / "faulty.py").write_text(FAULTY, encoding="utf-8")
    with pytest.raises(pytest.fail.Exception) as raised:
        rehearsal(tmp_path / "faulty.py")
    command, ended, said = str(raised.value).strip().splitlines()
    assert command.startswith(f"python train.py --plugin {tmp_path}/faulty.py --dataset rows.jsonl")
    assert ended == "ended with exit code 1:"
    assert said == (
        f"Error: Plugin {tmp_path}/faulty.py raised in map_messages ({tmp_path}/faulty.py:2): "
        "IndexError: list index out of range"
    )


def test_the_scripts_need_no_pytest():
    ask = "import sys, threetoe.__main__, threetoe.entry_points; print('pytest' in sys.modules)"
    asked = subprocess.run([sys.executable, "-c", ask], cwd=ROOT, capture_output=True, text=True)
    assert asked.stdout == "False\n", asked.stderr
