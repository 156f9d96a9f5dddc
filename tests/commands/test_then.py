"""train.py --then: an export in the session of its training, refused before it."""

from pathlib import Path

import pytest
from conftest import refused, run_script

import train
from threetoe import api
from threetoe.errors import UserError


def test_an_export_follows_a_training(tmp_path):
    words = ["--max-steps", 1, "--output-dir", "run", "--then", "export --adapter 'my adapter'"]
    done = run_script("train.py", *words, cwd=tmp_path)
    assert (tmp_path / "my adapter" / "adapter_model.safetensors").is_file()
    assert done.stderr.index("saved in run") < done.stderr.index("adapter written to my adapter")


def test_what_an_export_would_refuse_is_refused_before_the_training(here):
    Path("there").mkdir()
    Path("there/x").touch()
    for words, said in {
        "export --merged there": "--then: --merged there exists already; name a new folder.",
        "export --merged run/merged": "--then: --merged run/merged is inside the run's folder run;",
        "export --gguf q9": "--then: No GGUF type named 'q9'.",
        "export --gguf q8_0 --marged x": "--then: No such option: --marged",
        "export": "--then: Nothing to do: name --adapter",
        "export --format odd=x": "--then: No export format named 'odd'.",
        "export --merged 'x": "--then 'export --merged 'x': No closing quotation.",
        "exprot --merged x": "--then 'exprot --merged x': an export can follow",
        "export --help": "--then: No such option: --help",
        "": "--then '': an export can follow",
        "export --run y --merged x": "--then: the run is the one that is trained",
    }.items():
        (line,) = refused(train, "--output-dir", "run", "--model", "tiny", "--then", words)
        assert line.startswith(said), line
    lines = refused(train, "--dataset", "none.json", "--then", "export --merged there")
    assert [line.partition(":")[0] for line in lines] == ["--then", "No such file"]


def test_in_python_an_export_is_a_call_of_its_own(here):
    with pytest.raises(UserError, match="then: train.. only trains"):
        api.train(model="tiny", then="export --merged x")
