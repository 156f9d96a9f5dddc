"""Each file of configs/ opens with its command, and trains what it says."""

import json
import shlex

import pytest
from conftest import ROOT, run_script

from threetoe.machine.files import read_yaml

FILES = sorted((ROOT / "configs").glob("*.yaml"))
CHAT = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_config_opens_with_its_command_which_runs_dry(path, here):
    """With the embedded model in the place of a base from the Hub."""
    opening = path.read_text(encoding="utf-8").splitlines()[0]
    prompt, *words = shlex.split(opening.removeprefix("# "))
    assert (prompt, words[:3]) == ("python", ["train.py", "--config", f"configs/{path.name}"])
    (here / "configs").symlink_to(ROOT / "configs")
    rows = [{"messages": [*CHAT, {"role": "user", "content": f"{n}?"}, CHAT[1]]} for n in range(40)]
    (here / "my.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (here / "my.json").write_text(json.dumps(rows))
    book = [{"question": f"{n}?", "answer": "Soup.", "source": "book.txt"} for n in range(40)]
    (here / "rows.jsonl").write_text("\n".join(map(json.dumps, book)))
    words += ["--model", "tiny", "--dry-run", "--save-config", "asked.yaml"]
    run_script(*words, cwd=here)
    given, asked = (read_yaml(file)[0] for file in (path, here / "asked.yaml"))
    free = {"model", "per_device_train_batch_size"}  # the one is replaced, the other chosen
    assert {n: v for n, v in asked.items() if n in given.keys() - free} == {
        n: [v] if n == "dataset" else str(v) if n == "val_size" else v
        for n, v in given.items()
        if n not in free
    }
