"""Trainings that are killed and go on: run by test_resume.py in a process of its own, which imports
everything once and forks a child for each process of a training.

Standard input holds JSON: folder, cases, a list of {"options": of TrainConfig, "kills": how many,
"seed"}. Each case is trained whole, then killed at random moments of its time, in the middle of
writing a checkpoint too, and started again each time. Standard output gets a line of JSON a case.
"""

import hashlib
import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import torch
import unsloth  # noqa: F401  the children need not import it again

from threetoe.options.train import TrainConfig
from threetoe.train.durable import checkpoint
from threetoe.train.train import train

FILE = "adapter_model.safetensors"


def start(options: dict, folder: Path) -> int:
    """The id of a child that trains."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        log = folder.with_name(folder.name + ".log").open("ab")
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        values = {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}
        train(TrainConfig(**values, output_dir=folder))
        code = 0
    except BaseException as error:
        print(repr(error), file=sys.stderr, flush=True)
        code = getattr(error, "code", 1)
    finally:
        os._exit(code)


def ended(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def result(folder: Path) -> dict:
    """What has to be the same: bits, and every line that metrics.jsonl has of a step."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    timeless = [
        {k: v for k, v in line.items() if not k.endswith(("runtime", "second"))} for line in lines
    ]
    record = json.loads((folder / "run.json").read_text())
    return {
        "adapter": hashlib.sha256((folder / FILE).read_bytes()).hexdigest(),
        "metrics": timeless,
        "loss": record["metrics"]["train_loss"],
        "left": sorted(path.name for path in folder.glob("checkpoint*")),
    }


def kill(child: int, seconds: float | None, folder: Path) -> bool:
    """SIGKILL after so many seconds, or with None as soon as a checkpoint is being written; False
    when the training was done before."""
    began = time.monotonic()
    while time.monotonic() - began < (60 if seconds is None else seconds):
        if seconds is None and any(folder.glob(f"checkpoint-*{checkpoint.STAGED}/*")):
            break
        if os.waitpid(child, os.WNOHANG)[0]:
            return False
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return True


def run_case(case: dict, folder: Path) -> dict:
    """Kills a training again and again; each time one comes to its end, it is compared and begun
    anew, until all kills are done."""
    whole, cut, began = folder / "whole", folder / "cut", time.monotonic()
    code = ended(start(case["options"], whole))
    if code:
        return {"code": code, "log": whole.with_name("whole.log").read_text()}
    seconds, chance = time.monotonic() - began, random.Random(case["seed"])
    wanted, steps, results = result(whole), [], []
    while len(steps) < case["kills"]:
        when = None if len(steps) % 3 == 2 else chance.random() * seconds
        if kill(start(case["options"], cut), when, cut):
            found, _ = checkpoint.newest(cut)
            steps.append(found.step if found else 0)
        else:
            results.append(result(cut))
            shutil.rmtree(cut)
    code = ended(start(case["options"], cut))
    facts = {"code": code, "steps": steps, "log": cut.with_name("cut.log").read_text()}
    if code == 0:
        results.append(result(cut))
    return facts | {"wanted": wanted, "results": results}


def main() -> None:
    torch.set_num_threads(1)
    given = json.load(sys.stdin)
    for number, case in enumerate(given["cases"]):
        folder = Path(given["folder"], str(number))
        folder.mkdir()
        print(json.dumps(run_case(case, folder)), flush=True)


if __name__ == "__main__":
    main()
