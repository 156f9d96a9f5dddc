"""Calls of the scripts, one after the other: run by tests, because importing Unsloth takes longer
than a short training does.

Standard input holds a JSON list of calls as a shell takes them, NAME=VALUE before them too;
standard output gets a line of JSON a call: its exit code, and what it said.
"""

import importlib
import json
import os
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import BytesIO, TextIOWrapper


def call(words: list[str]) -> dict:
    """What came of `A=1 python train.py --preview 2`, given as its words."""
    start = words.index("python")
    os.environ.update(word.split("=", 1) for word in words[:start])
    said, warned = (TextIOWrapper(BytesIO(), "utf-8") for _ in range(2))
    code = 0
    main = importlib.import_module(words[start + 1].removesuffix(".py")).main
    with redirect_stdout(said), redirect_stderr(warned):
        try:
            main(words[start + 2 :])
        except SystemExit as error:
            code = error.code or 0
    said, warned = (text(stream) for stream in (said, warned))
    return {"code": code, "stdout": said, "stderr": warned}


def text(stream: TextIOWrapper) -> str:
    stream.flush()
    return stream.buffer.getvalue().decode("utf-8")


if __name__ == "__main__":
    for one in json.load(sys.stdin):
        print(json.dumps(call(one)), flush=True)
