"""The fixture `rehearsal`, for the tests of plugins: three steps, an answer and an export.

Ask for it in a test module, or in the conftest.py at the root of a project:

    pytest_plugins = ["threetoe.testing"]

It is no pytest11 entry point: with one, every pytest in an environment with Threetoe would load
it, also where no plugin is tested. Nothing else of Threetoe imports pytest.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from threetoe.entry_points import path_of

ROWS = [
    {"instruction": "Name a colour.", "output": "Blue"},
    {"instruction": "Classify the sentiment.", "input": "I like it.", "output": "Positive"},
    {"instruction": "Classify the sentiment.", "input": "It was cold.", "output": "Negative"},
    {"instruction": "Say hello.", "output": "Hello!"},
]
SHORT = {
    "--model": "tiny", "--max-steps": 3, "--gradient-accumulation-steps": 1, "--warmup-steps": 0
}  # fmt: skip
LIMIT = 300  # seconds a script may take; each needs about ten


@dataclass(frozen=True)
class Rehearsal:
    """What train.py, infer.py and export.py left and said."""

    run: Path  # the run folder
    exported: Path  # the folder with the exported adapter
    answer: str  # what infer.py answered
    printed: str  # what all three printed, the answer and standard error included
    record: dict  # run.json
    metrics: dict  # those of run.json: steps, seconds, train_loss


@pytest.fixture(scope="session")
def rehearsal(tmp_path_factory):
    """A function that trains three steps on the embedded model, asks one question, exports an
    adapter, each with the real script in a new temporary folder, and returns a Rehearsal.

    Plugins are given as for --plugin, and then no installed one is loaded beside them; without
    any, the installed ones are. `rows` are the training data; `train`, `infer` and `export` are
    more arguments of these scripts. A script that fails fails the test, with what it said.
    """

    def rehearse(*plugins, rows=ROWS, question="Say hello.", train=(), infer=(), export=()):
        __tracebackhide__ = True
        folder = tmp_path_factory.mktemp("rehearsal")
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / "rows.jsonl").write_text("".join(lines), encoding="utf-8")
        named = [word for plugin in plugins for word in ("--plugin", place(plugin))]
        calls = {
            "train": ["--dataset", "rows.jsonl", "--output-dir", "run", *unless(train, SHORT)],
            "infer": ["--run", "run", *unless(infer, {"--max-new-tokens": 16}), "--", question],
            "export": ["--run", "run", "--adapter", "exported", *export],
        }
        done = {}
        for script, args in calls.items():  # no comprehension: it would show in every failure
            done[script] = run(script, [*named, *args], folder)
        record = json.loads((folder / "run" / "run.json").read_text(encoding="utf-8"))
        return Rehearsal(
            run=folder / "run",
            exported=folder / "exported",
            answer=done["infer"].stdout.removesuffix("\n"),
            printed="".join(one.stdout + one.stderr for one in done.values()),
            record=record,
            metrics=record["metrics"],
        )

    return rehearse


def unless(given, flags: dict) -> list:
    """The arguments that are given, and before them those flags that are not among them."""
    named = [str(word).partition("=")[0].replace("_", "-") for word in given]
    pairs = [(flag, value) for flag, value in flags.items() if flag not in named]
    return [*(word for pair in pairs for word in pair), *given]


def place(plugin) -> str:
    """A plugin as --plugin takes it in any folder: a file's whole path, or a module's name."""
    return str(Path(plugin).expanduser().resolve()) if str(plugin).endswith(".py") else str(plugin)


def run(script: str, args: list, folder: Path) -> subprocess.CompletedProcess:
    """Run a script in a folder, with the modules that the test can import."""
    __tracebackhide__ = True
    words = [str(word) for word in args]
    settings = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONIOENCODING": "utf-8"}
    settings |= {"THREETOE_LOAD_PLUGINS": ""} if "--plugin" in words else {}
    command = " ".join(["python", f"{script}.py", *words])
    try:
        done = subprocess.run(
            [sys.executable, path_of(script), *words], cwd=folder, timeout=LIMIT,
            encoding="utf-8", stdin=subprocess.DEVNULL, capture_output=True,
            env=one_thread() | settings,
        )  # fmt: skip
    except subprocess.TimeoutExpired as slow:
        said = (slow.stderr or b"").decode(errors="replace")
        pytest.fail(f"{command}\nhad not ended after {LIMIT} seconds:\n{said}")
    if done.returncode:
        pytest.fail(f"{command}\nended with exit code {done.returncode}:\n{done.stderr}")
    return done


def one_thread() -> dict:
    """The environment; for so small a model, more threads than one wait more than they work."""
    return {"OMP_NUM_THREADS": "1", **os.environ}
