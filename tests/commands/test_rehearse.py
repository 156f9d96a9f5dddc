"""train.py --rehearse: the whole way on a small random model, in a minute."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

from click.testing import CliRunner
from conftest import run_script
from recorders import recorder

import train
from threetoe.backend.small import shrink
from threetoe.commands.rehearse import moved
from threetoe.hooks.plugin import HOOKS
from threetoe.options.export import ExportConfig

BAD = """
def map_reply(reply, messages, config):
    return 5

def after_export(format, folder, config):
    raise KeyError(format)
"""


def test_a_rehearsal_calls_every_hook_finds_late_faults_and_keeps_nothing(tmp_path):
    for name, text in (("a", recorder()), ("bad", BAD)):
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    rows = [{"prompt": f"Say {n}.", "completion": f"{n} é"} for n in range(30)]
    (tmp_path / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
    (tmp_path / "tmp").mkdir()
    before = sorted(tmp_path.rglob("*"))
    words = ["--dataset", "rows.json", "--val-size", 5, "--plugin", "a.py", "--plugin", "bad.py"]
    words += ["--template", "chatml", "--model", "tiny", "--rehearse"]
    env = {**os.environ, "TMPDIR": str(tmp_path / "tmp")}
    done = run_script("train.py", *words, cwd=tmp_path, code=1, env=env)
    assert [line.split("  ")[0] for line in done.stdout.splitlines()] == [
        "options and data", "base", "training", "stop and resume", "questions", "export"
    ]  # fmt: skip
    assert [line.split()[1] for line in done.stdout.splitlines() if "FAULT" in line] == [
        "FAULT", "FAULT"
    ]  # fmt: skip
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert "map_reply returned int" in errors[0] and "KeyError: 'merged'" in errors[1]
    calls = tmp_path / "calls.txt"
    assert {line.split()[1] for line in calls.read_text().splitlines()} == set(HOOKS)
    calls.unlink()
    assert sorted(tmp_path.rglob("*")) == before


def test_what_is_right_is_found_right(here):
    rows = [{"prompt": f"Say {n}.", "completion": f"{n}"} for n in range(8)]
    Path("rows.json").write_text(json.dumps(rows))
    words = ["--dataset", "rows.json", "--val-size", 2, "--template", "chatml", "--model", "tiny"]
    done = run_script("train.py", *words, "--new-tokens", "add", "--rehearse", cwd=here)
    assert len(done.stdout.splitlines()) == 6 and "FAULT" not in done.stdout
    assert "merged written and proven" in done.stdout and "2 answered" in done.stdout
    assert "rehearsed in" in done.stderr


def test_faults_of_template_and_data_stand_in_the_table_and_end_it(here):
    Path("bad.yaml").write_text("description: x\nuser: y\n", encoding="utf-8")
    Path("bad.csv").write_text("prompt,completion\na,b\n,\n", encoding="utf-8")
    words = ["--rehearse", "--model", "tiny", "--dataset", "bad.csv", "--template", "bad.yaml"]
    words += ["--then", "export --merged bad.csv"]
    done = CliRunner().invoke(train.main, words)
    assert done.exit_code == 2
    first, *others = done.stdout.splitlines()
    assert "FAULT" in first and all(line.endswith("not reached") for line in others)
    for said in ("bad.yaml:2: unknown field 'user'", "bad.csv: 1 of 2 rows", "--then: --merged"):
        assert said in done.stderr


def test_a_small_base_keeps_what_makes_the_kind():
    for sizes, small in {
        (32, 8, 4096, 14336): (8, 2, 256, 768),  # Llama 3 8B: query heads, key heads, width, inner
        (9, 3, 576, 1536): (6, 2, 192, 512),  # SmolLM2 135M
        (28, 4, 3584, 18944): (14, 2, 448, 2304),  # Qwen 2.5 7B
        (4, 4, 64, 128): (2, 2, 256, 512),
    }.items():
        names = "num_attention_heads num_key_value_heads hidden_size intermediate_size".split()
        config = SimpleNamespace(**dict(zip(names, sizes, strict=True)), num_hidden_layers=3)
        config.layer_types = ["full", "sliding", "full"]
        head = config.hidden_size // config.num_attention_heads
        shrink(config)
        assert tuple(getattr(config, name) for name in names) == small
        assert (config.num_hidden_layers, config.head_dim) == (2, head)
        assert config.layer_types == ["full", "sliding"]


def test_an_export_is_rehearsed_elsewhere_and_pushed_nowhere():
    asked = ExportConfig(merged=Path("m"), gguf=("q8_0",), push="a/b", private=True)
    small = moved(asked, Path("run"), Path("place"))
    assert (small.merged, small.gguf_dir) == (Path("place/merged"), Path("place/gguf"))
    assert (small.push, small.private, small.adapter) == (None, False, None)
    assert moved(ExportConfig(push="a/b"), Path("run"), Path("x")).adapter == Path("x/adapter")
