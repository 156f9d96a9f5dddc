"""Pairs of exports into one folder: run by test_export_kills.py in a process of its own, which
imports everything once and forks two children for each pair, one a little after the other.

Standard input holds JSON: run, folder, pairs. Standard output gets a line of JSON for each pair:
what the two ended with, and the files of the folder.
"""

import json
import os
import sys
import time
from pathlib import Path

import peft  # noqa: F401  the children need not import it again
import torch

from threetoe.errors import Failure, UserError
from threetoe.export.export import export
from threetoe.options.export import ExportConfig


def start(config: ExportConfig) -> int:
    """The id of a child that exports, and ends with the script's exit code."""
    child = os.fork()
    if child:
        return child
    code = 3
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        export(config)
        code = 0
    except UserError:
        code = 2
    except Failure:
        code = 1
    finally:
        os._exit(code)


def raced(config: ExportConfig, seconds: float) -> list[int]:
    children = [start(config)]
    time.sleep(seconds)
    children.append(start(config))
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def main() -> None:
    torch.set_num_threads(1)
    given = json.load(sys.stdin)
    folder, alone = Path(given["folder"]), 0.0
    for number in range(given["pairs"] + 1):
        target = folder / f"out-{number}"
        config = ExportConfig(run=Path(given["run"]), merged=target, verify=False)
        began = time.monotonic()
        if not number:  # one alone: what it takes, and what is whole
            codes = [os.waitstatus_to_exitcode(os.waitpid(start(config), 0)[1])]
            alone = time.monotonic() - began
        else:
            codes = raced(config, alone * (number - 1) / given["pairs"])
        files = sorted(path.name for path in target.iterdir())
        beside = sorted(path.name for path in folder.glob(f"out-{number}.*"))
        print(json.dumps({"codes": codes, "files": files, "beside": beside}), flush=True)


if __name__ == "__main__":
    main()
