"""Exports that are killed: run by test_export_kills.py in a process of its own, which imports
everything once and forks a child for each export.

Standard input holds JSON: run, folder, base, cases, a list of {"verify": true or false, "limit":
bytes that a file may have, "share": when to kill, of the shards that a whole export has, or with
the proof of the time that it takes}. Standard output gets a line of JSON for each case.
"""

import hashlib
import json
import os
import resource
import shutil
import signal
import sys
import time
from glob import glob
from pathlib import Path

import peft  # noqa: F401  the children need not import it again
import torch
import transformers  # noqa: F401

from threetoe.backend.checkpoint import read_header
from threetoe.export.export import plan_export, settle_run, write_format
from threetoe.options.export import ExportConfig

SHARD = 0.0003  # GB: the tiny model's rows of embeddings do not fit, most layers do


def hashes(folder: Path) -> dict[str, str]:
    """By name; verify.json has the seconds it took, so it never is the same."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.name != "verify.json"
    }


def start(job, target: Path, limit: int | None) -> int:
    """The id of a child that exports."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        if limit:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        write_format(job, "merged", target)
        code = 0
    finally:
        os._exit(code)


def exported(job, target: Path) -> float:
    """Seconds that a whole export takes."""
    began = time.monotonic()
    assert os.waitpid(start(job, target, None), 0)[1] == 0
    return time.monotonic() - began


def wait(target: Path, case: dict, seconds: float, wanted: dict) -> None:
    """Until the point where the export is to be killed. Shards are counted, because a busy machine
    makes them come at any time; between two of them it is the time that is random."""
    end = time.monotonic() + seconds * case["share"]
    if not case["verify"]:
        shards = case["share"] * sum(name.endswith(".safetensors") for name in wanted)
        while len(glob(f"{target}.partial/*.safetensors")) < int(shards):
            if target.exists() or time.monotonic() > end + 60:
                return
            time.sleep(0.0002)
        end = time.monotonic() + (shards % 1) * seconds / len(wanted)
    time.sleep(max(0, end - time.monotonic()))


def ended(job, target: Path, case: dict, seconds: float, wanted: dict) -> str:
    """How an export ended that a kill, or a full disk, was to stop. One that is done before it is
    killed is started again, and killed earlier."""
    while True:
        child = start(job, target, case.get("limit"))
        if "share" in case:
            wait(target, case, seconds, wanted)
            os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
        was_done = target.exists() and hashes(target) == wanted
        if os.WIFSIGNALED(status) and not was_done:
            return "killed"
        if "limit" in case:
            return f"code {os.waitstatus_to_exitcode(status)}"
        shutil.rmtree(target)
        case["share"] *= 0.8


def main() -> None:
    torch.set_num_threads(1)
    given = json.load(sys.stdin)
    folder, run = Path(given["folder"]), Path(given["run"])
    jobs = {}
    for verify in (True, False):
        target = folder / f"whole-{verify}"
        config = ExportConfig(run=run, merged=target, max_shard_size=SHARD, verify=verify)
        job = settle_run(plan_export(config), folder)
        exported(job, target)  # the first reads everything from the disk, and takes longer
        shutil.rmtree(target)
        jobs[verify] = job, exported(job, target), hashes(target)
    for case in given["cases"]:
        job, seconds, wanted = jobs[case["verify"]]
        target = folder / "out"
        sources = [hashes(run), hashes(Path(given["base"]))]
        how, partial = ended(job, target, case, seconds, wanted), folder / "out.partial"
        shards = sorted(partial.glob("*.safetensors"))
        for shard in shards:
            read_header(shard)  # raises unless what bears its name is whole
        inodes = {path.name: path.stat().st_ino for path in shards}
        facts = {"how": how, "looks_whole": target.exists(), "left": partial.exists()}
        if not target.exists():
            exported(job, target)
        kept = [n for n, inode in inodes.items() if (target / n).stat().st_ino == inode]
        facts |= {"shards": len(shards), "kept": len(kept), "same": hashes(target) == wanted}
        facts["untouched"] = sources == [hashes(run), hashes(Path(given["base"]))]
        facts["tidy"] = not partial.exists()
        print(json.dumps(facts), flush=True)
        shutil.rmtree(target)


if __name__ == "__main__":
    main()
