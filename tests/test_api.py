"""threetoe.api: the flows as functions, and all that plugins and notebooks import."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from test_errors import HEAVY

from threetoe import api
from threetoe.api import UserError
from threetoe.options.command import configure
from threetoe.options.infer import InferConfig
from threetoe.options.train import TrainConfig

ROWS = """[{"prompt": "Name a colour that is not blue.", "completion": "Red"},
 {"prompt": "Say hello.", "completion": "Hello!"}]"""
PUBLIC = {"threetoe", "threetoe.api", "threetoe.testing"}


def test_a_notebook_trains_asks_and_exports(here):
    Path("rows.json").write_text(ROWS)
    Path("short.yaml").write_text("max-steps: 9\ngradient-accumulation-steps: 1\n")
    run = api.train(
        config="short.yaml", dataset="rows.json", max_steps=1, output_dir=here / "run", model="tiny"
    )
    assert (run.folder, run.record.metrics["steps"]) == (here / "run", 1)
    asked = {"run": run.folder, "max_new_tokens": 4}
    answers = api.infer(file="rows.json", **asked)
    assert answers[1:] == api.infer("Say hello.", **asked)
    assert answers[:1] == api.infer("Name a colour that is not blue.", **asked)
    assert api.export(run=run.folder, adapter="out", verify=False) == {"adapter": Path("out")}
    assert Path("out", "adapter_model.safetensors").is_file()


def test_looking_first_leaves_no_run(here, capsys):
    Path("rows.json").write_text(ROWS)
    assert api.train(dataset="rows.json", preview=1) is None
    assert "Name a colour" in capsys.readouterr().out


def test_mistakes_are_raised_together_and_nothing_is_printed(here, capsys):
    with pytest.raises(UserError) as raised:
        api.train(dataset="none.json", lora_r=0, lr=1e-4)
    assert [line.partition(":")[0] for line in raised.value.problems] == [
        "No such option", "Invalid value for '--lora-r'", "No such file"
    ]  # fmt: skip
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"lora_r": 8, "seed": None}, TrainConfig(lora_r=8)),
        ({"load_in_4bit": False, "dry_run": False}, TrainConfig(load_in_4bit=False)),
        ({"target_modules": ["q", "v"]}, TrainConfig(target_modules=("q", "v"))),
        ({"map": {"output": "reply"}}, TrainConfig(map=(("output", "reply"),))),
        ({"labels": {0: "No"}}, TrainConfig(labels=(("0", "No"),))),
        ({"plugin": ("a.py", Path("b.py"))}, TrainConfig(plugin=("a.py", "b.py"))),
        ({"prompt": "--what?"}, InferConfig(prompt="--what?")),
        ({"system": "-5 = x"}, InferConfig(system="-5 = x")),
    ],
)
def test_arguments_have_the_names_and_the_meaning_of_options(options, expected):
    assert configure(type(expected), options) == expected


def test_importing_it_imports_nothing_heavy():
    ask = f"import sys, threetoe.api; print([name for name in {HEAVY} if name in sys.modules])"
    asked = subprocess.run([sys.executable, "-c", ask], cwd=ROOT, capture_output=True, text=True)
    assert asked.stdout == "[]\n", asked.stderr


def test_plugins_examples_and_pages_import_nothing_else():
    fence = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    folders = [*(ROOT / "plugins").glob("*.py"), *(ROOT / "examples").rglob("*.py")]
    sources = {path: path.read_text("utf-8") for path in folders}
    pages = [*(ROOT / "docs").glob("*.md"), *ROOT.glob("README*.md")]
    sources |= {path: "\n".join(fence.findall(path.read_text("utf-8"))) for path in pages}
    for path, source in sources.items():
        nodes = list(ast.walk(ast.parse(source)))
        named = {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
        named |= {node.names[0].name for node in nodes if isinstance(node, ast.Import)}
        ours = {name for name in named if name.partition(".")[0] == "threetoe"}
        assert ours <= PUBLIC, path
