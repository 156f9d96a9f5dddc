"""One run of the real scripts, made as `make demo` makes it, for all tests that need one."""

import fcntl
import json
import os
import pickle
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from forked import run_python
from hub_server import reread_environment
from recorders import write_recorders

os.environ.setdefault("OMP_NUM_THREADS", "1")  # as make test sets it, and for the same reason
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell starts what runs behind
    signal.signal(signal.SIGINT, signal.default_int_handler)
ROOT = Path(__file__).parent.parent
TINY = ROOT / "models" / "tiny"
pytest_plugins = ["threetoe.testing"]


def run_script(name, *args, cwd, code=0, **settings):
    """Run train.py, infer.py or export.py as a user would; `code` is the exit code expected."""
    done = run_python([str(ROOT / name), *map(str, args)], cwd, **settings)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def run_in_one_process(calls, cwd, **variables):
    """The exit code, stdout and stderr of calls of the scripts, each given as its words."""
    found = []
    for words in calls:
        start = words.index("python")
        env = os.environ | variables | dict(word.split("=", 1) for word in words[:start])
        done = run_python([str(ROOT / words[start + 1]), *words[start + 2 :]], cwd, env)
        found.append({"code": done.returncode, "stdout": done.stdout, "stderr": done.stderr})
    return found


@pytest.fixture(scope="session")
def workplace(tmp_path_factory):
    """A folder that is not the clone, where the scripts are run."""
    return tmp_path_factory.mktemp("workplace")


def made_once(factory, name, make):
    """A folder that `make` fills for all workers of this session: the others wait for the first,
    and change nothing in it."""
    place = factory.getbasetemp()
    place = place.parent if "PYTEST_XDIST_WORKER" in os.environ else place
    with open(place / f"{name}.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / name).exists():
            making = factory.mktemp(name)
            make(making)
            making.rename(place / name)
    return place / name


@pytest.fixture(scope="session")
def demo(workplace, tmp_path_factory):
    """The run folder of the demo, and what training it printed."""

    def train(folder):
        flags = ["--config", ROOT / "examples" / "demo.yaml", "--output-dir", "demo"]
        done = run_script("train.py", *flags, cwd=folder, fresh=True)
        (folder / "printed.json").write_text(json.dumps([done.stdout, done.stderr]))

    made = made_once(tmp_path_factory, "trained-demo", train)
    shutil.copytree(made / "demo", workplace / "demo")
    stdout, stderr = json.loads((made / "printed.json").read_text())
    return workplace / "demo", SimpleNamespace(stdout=stdout, stderr=stderr)


@pytest.fixture(scope="session")
def three_steps(workplace):
    """A run folder after three steps in 4 bits: enough where nothing needs to be learned."""
    run_script(
        "train.py", "--max-steps", 3, "--load-in-4bit", "--output-dir", "three", cwd=workplace
    )
    return workplace / "three"


@pytest.fixture(scope="session")
def rehearsed(rehearsal, tmp_path_factory):
    """A rehearsal with two plugins that have every hook, and the folder where they are and note
    their calls."""

    def rehearse(made):
        folder = tmp_path_factory.mktemp("recorders")
        write_recorders(folder)
        rows = [{"prompt": f"Say {n}.", "completion": f"{n} é"} for n in range(5)]
        done = rehearsal(
            folder / "b.py", folder / "a.py", rows=rows, question="-- Was it?",
            train=["--max-seq-length", 64], infer=["--template", "alpaca"],
            export=["--merged", "merged", "--template", "alpaca"],
        )  # fmt: skip
        (made / "rehearsed").write_bytes(pickle.dumps((done, folder)))

    made = made_once(tmp_path_factory, "rehearsed", rehearse)
    return pickle.loads((made / "rehearsed").read_bytes())


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No network, and no model or dataset from a cache, for this process and its children."""
    from datasets import config

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setattr(config, "HF_HUB_OFFLINE", True)
    reread_environment()
    yield dict(os.environ)
    monkeypatch.undo()
    reread_environment()


def refused(script, *args, code=2):
    """The lines that train, infer or export (a module) says of a call it refuses, 'Error: ' taken
    off. It ends with the code, says nothing else, and leaves the current folder as it was."""
    before = sorted(Path().rglob("*"))
    done = CliRunner().invoke(script.main, [str(arg) for arg in args])
    assert (done.exit_code, done.stdout) == (code, ""), done.output
    assert isinstance(done.exception, SystemExit), done.output
    lines = done.stderr.splitlines()
    assert [line for line in lines if not line.startswith("Error: ")] == []
    assert sorted(Path().rglob("*")) == before
    return [line.removeprefix("Error: ") for line in lines]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A new folder, made the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
