"""Calls of the scripts, each in a process forked from one that has imported Unsloth: the import
takes longer than a short training does, and a fork knows nothing of the calls before it.

Run as a program, this is the process that forks. What a fork cannot show is how Unsloth is
imported, and how an interpreter that used it ends: tests of these ask for a fresh process.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import threading
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parent.parent
START = {"OMP_NUM_THREADS": "1", **os.environ}
# What is read while libraries are imported; a call that changes it gets a fresh process.
READ_EARLY = ("HOME", "OMP_NUM_THREADS", "PYTHONIOENCODING", "XDG_CACHE_HOME")
SECONDS = 1800  # on a machine that has much else to do


def run_python(words, cwd, env=None, input="", fresh=False) -> subprocess.CompletedProcess:
    """What came of `python WORDS`: a file or -m and a module, and arguments."""
    words, env = [os.fspath(word) for word in words], dict(os.environ if env is None else env)
    if fresh or not may_fork(env):
        return subprocess.run(
            [sys.executable, *words], cwd=cwd, env=env, input=input, timeout=SECONDS,
            capture_output=True, text=True, encoding="utf-8",
        )  # fmt: skip
    with TemporaryDirectory() as folder:
        streams = [Path(folder, name) for name in ("stdin", "stdout", "stderr")]
        streams[0].write_text(input, encoding="utf-8")
        code = Forked(words, cwd, env, streams).wait(SECONDS)
        said, warned = (path.read_text(encoding="utf-8") for path in streams[1:])
    return subprocess.CompletedProcess(words, code, said, warned)


def may_fork(env: dict) -> bool:
    return all(env.get(name) == START.get(name) for name in READ_EARLY) and forks().able


class Forked:
    """A process of its own that runs a call; `pid` is its id."""

    def __init__(self, words, cwd, env, streams):
        """`streams` are the files that standard input, output and error are."""
        self.code = None
        self.pid = forks().ask(words=words, cwd=str(cwd), env=env, streams=list(map(str, streams)))

    def poll(self) -> int | None:
        return self.ended(os.WNOHANG)

    def wait(self, seconds) -> int:
        """The exit code, as Popen has it; the process is killed when it takes longer."""
        watch = threading.Timer(seconds, self.send_signal, [signal.SIGKILL])
        watch.start()
        try:
            return self.ended(0)
        finally:
            watch.cancel()

    def ended(self, how):
        if self.code is None:
            self.code = forks().ask(wait=self.pid, how=how)
        return self.code

    def send_signal(self, number):
        os.kill(self.pid, number)


class Forks:
    """The process that forks; it ends when its standard input does."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=START, start_new_session=True,  # Ctrl-C is for pytest alone
        )  # fmt: skip
        atexit.register(self.process.communicate)  # which ends it, and waits
        self.able = self.answer()

    def ask(self, **request):
        print(json.dumps(request), file=self.process.stdin, flush=True)
        return self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        assert line, "the process that forks has ended; what it said is on standard error"
        return json.loads(line)


forks = cache(Forks)


def serve() -> dict:
    """Answer requests on standard input until it ends; returns in every fork, with its call."""
    asked, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    libraries.load_unsloth()
    importlib.import_module("matplotlib.figure")  # draws the losses of each training
    gc.freeze()  # a collection in a fork would copy every page
    answer = sys.platform == "linux" and not libraries.has_gpu()  # CUDA does not live on in a fork
    while print(json.dumps(answer), file=answers, flush=True) or (line := asked.readline()):
        request = json.loads(line)
        if "wait" in request:
            child, status = os.waitpid(request["wait"], request["how"])
            answer = os.waitstatus_to_exitcode(status) if child else None
        elif not (answer := os.fork()):
            asked.close()
            answers.close()
            return request
    sys.exit()


def become(words, cwd, env, streams) -> None:
    """Make this fork the process that `python WORDS` starts, and run it."""
    for number, place in enumerate(streams):
        how = os.O_WRONLY | os.O_CREAT | os.O_TRUNC if number else os.O_RDONLY
        os.dup2(os.open(place, how), number)
    os.chdir(cwd)
    loaded = {name: value for name, value in os.environ.items() if name not in START}
    os.environ.clear()
    os.environ.update(loaded | env)  # what a fresh process would set when it imports libraries
    for name in ("huggingface_hub.constants", "datasets.config"):
        if any(START.get(one) != env.get(one) for one in START | env if one.startswith("HF_")):
            importlib.reload(sys.modules[name])
    sys.path[1:1] = [place for place in env.get("PYTHONPATH", "").split(os.pathsep) if place]
    try:
        if words[0] == "-m":
            sys.path[0], sys.argv = cwd, words[1:]
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        else:
            sys.path[0], sys.argv = str(Path(words[0]).parent), words
            runpy.run_path(words[0], run_name="__main__")
        code = 0
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # an interpreter that ends frees, and so copies, every page


if __name__ == "__main__":
    sys.path[0] = str(ROOT)
    from threetoe.machine import libraries

    become(**serve())
