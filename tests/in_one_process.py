"""Calls of the scripts, one after the other: run by tests, because importing Unsloth takes longer
than a short training does.

Standard input holds a JSON list of calls, each a script's name and its arguments; standard output
gets a line of JSON a call: its exit code, and what it said.
"""

import importlib
import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO


def call(script: str, *args: str) -> dict:
    said, warned, code = StringIO(), StringIO(), 0
    main = importlib.import_module(script.removesuffix(".py")).main
    with redirect_stdout(said), redirect_stderr(warned):
        try:
            main(list(args), standalone_mode=True)
        except SystemExit as error:
            code = error.code or 0
    return {"code": code, "stdout": said.getvalue(), "stderr": warned.getvalue()}


if __name__ == "__main__":
    for one in json.load(sys.stdin):
        print(json.dumps(call(*one)), flush=True)
