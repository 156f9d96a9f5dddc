"""Trainings that are killed and go on: run by test_resume.py in a process of its own, which imports
everything once and forks a child for each process of a training.

Standard input holds JSON: folder, cases, a list of {"options": of TrainConfig, "kills": how many,
"seed"}. Each case is trained whole, then killed at random moments of its time, in the middle of
writing a checkpoint and while the run is saved too, and started again each time. Standard output
gets a line of JSON a case.
"""

import hashlib
import json
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import torch
import unsloth  # noqa: F401  the children need not import it again

from threetoe.options.train import TrainConfig
from threetoe.run import record
from threetoe.train.durable import checkpoint
from threetoe.train.train import train

FILE = "adapter_model.safetensors"
STAGED = f"checkpoint-*{checkpoint.STAGED}"
WRITING, ENDING = 0.1, 0.05  # seconds that a checkpoint takes, and the run that follows the last


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
    """What has to be the same: bits, every line that metrics.jsonl has of a step, and samples."""
    lines = [json.loads(line) for line in lines_in(folder)]
    timeless = [
        {k: v for k, v in line.items() if not k.endswith(("runtime", "second"))} for line in lines
    ]
    record = json.loads((folder / "run.json").read_text())
    asked = record["options"]["sample_steps"]  # else it is asked when the run is whole
    return {
        "adapter": hashlib.sha256((folder / FILE).read_bytes()).hexdigest(),
        "metrics": timeless,
        "loss": record["metrics"]["train_loss"],
        "saved": record["metrics"].get("saved_step"),
        "samples": asked and (folder / "samples.jsonl").read_text(),
        "left": sorted(path.name for path in folder.glob("checkpoint*")),
    }


def kill(child: int, folder: Path, sign: str, seconds: float) -> bool:
    """SIGKILL so many seconds after the folder has a file like `sign`; False when the training
    was done before."""
    began = None
    while began is None or time.monotonic() - began < seconds:
        if began is None and (not sign or any(folder.glob(sign))):
            began = time.monotonic()
        if os.waitpid(child, os.WNOHANG)[0]:
            return False
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return True


def is_whole(folder: Path) -> bool:
    """Whether run.json is there and the file that marks a begun run is gone."""
    return (folder / record.RECORD).exists() and not (folder / record.PARTIAL).exists()


def stage(folder: Path) -> str:
    """What a training was doing when it was killed, by what it has left."""
    if any(folder.glob(STAGED)):
        return "writing a checkpoint"
    found, _ = checkpoint.newest(folder)
    if found and found.step == found.facts["total"]:
        return "saving the run"
    now, then = (len(lines_in(at)) for at in (folder, found and found.folder))
    if now > then:
        return "between two checkpoints" if found else "before the first checkpoint"
    return "going on" if found else "before the first step"


def lines_in(folder: Path | None) -> list[str]:
    metrics = folder and folder / "metrics.jsonl"
    return metrics.read_text().splitlines() if metrics and metrics.exists() else []


def last(folder: Path) -> str:
    """The name of a training's last checkpoint."""
    return f"checkpoint-{json.loads((folder / 'run.json').read_text())['metrics']['steps']}"


def run_case(case: dict, folder: Path) -> dict:
    """Kills a training again and again; each time one comes to its end, it is compared and begun
    anew, until all kills are done."""
    whole, cut, began = folder / "whole", folder / "cut", time.monotonic()
    code = ended(start(case["options"], whole))
    if code:
        return {"code": code, "log": whole.with_name("whole.log").read_text()}
    seconds, chance = time.monotonic() - began, random.Random(case["seed"])
    moments = [("", seconds), (STAGED, WRITING), ("", seconds), (last(whole), ENDING)]
    wanted, stages, results = result(whole), [], []
    while len(stages) < case["kills"]:
        sign, most = moments[len(stages) % len(moments)]
        after = 0 if len(stages) == 1 else chance.random() * most  # once while it surely is written
        if kill(start(case["options"], cut), cut, sign, after):
            stages.append(stage(cut))
        if is_whole(cut):  # one that was killed may have had nothing left to do but to end
            checkpoint.prune(cut, 0)  # or this
            results.append(result(cut))
            shutil.rmtree(cut)
    code = ended(start(case["options"], cut))
    log = cut.with_name("cut.log").read_text()
    facts = {"code": code, "stages": Counter(stages), "continued": log.count("continuing")}
    if code == 0:
        results.append(result(cut))
    return facts | {"wanted": wanted, "results": results, "log": log}


def main() -> None:
    torch.set_num_threads(1)
    given = json.load(sys.stdin)
    for number, case in enumerate(given["cases"]):
        folder = Path(given["folder"], str(number))
        folder.mkdir()
        print(json.dumps(run_case(case, folder)), flush=True)


if __name__ == "__main__":
    main()
