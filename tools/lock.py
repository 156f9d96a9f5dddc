"""Resolve requirements/cpu.in in a scratch environment and write requirements/cpu.txt."""

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "requirements"

ALONE = "# Without their dependencies"
HEADER = """\
# The CPU environment, every package pinned. Written by `make lock` from cpu.in, which gives the
# reasons: edit that file, not this one. It is installed with
#     pip install --no-deps -r requirements/cpu.txt
# because Unsloth asks for packages that cannot be had or do not load here. On Linux, PyPI's torch
# wants CUDA libraries, which --no-deps leaves out: take torch from PyTorch's own CPU index, as
# its installation page shows.
"""


def main():
    resolved, alone = read_input(FOLDER / "cpu.in")
    with tempfile.TemporaryDirectory() as scratch:
        venv.create(scratch, with_pip=True)
        pip = [f"{scratch}/bin/python", "-m", "pip", "--disable-pip-version-check"]
        install = [*pip, "install", "-qq", "--no-compile"]
        subprocess.run([*install, *resolved], check=True)
        subprocess.run([*install, "--no-deps", *alone], check=True)
        freeze = [*pip, "freeze", "--all", "--exclude", "pip"]
        frozen = subprocess.run(freeze, check=True, capture_output=True, encoding="utf-8").stdout
    pins = sorted((without_local_label(pin) for pin in frozen.split("\n") if pin), key=str.lower)
    refuse_cuda(pins)
    (FOLDER / "cpu.txt").write_text(HEADER + "\n" + "\n".join(pins) + "\n", encoding="utf-8")
    print(f"requirements/cpu.txt: {len(pins)} packages")


def read_input(path):
    """The requirements to resolve, and those to install without their dependencies."""
    resolved, alone = path.read_text(encoding="utf-8").split(ALONE)
    return named_in(resolved), named_in(alone)


def named_in(text):
    return [named for line in text.split("\n") if (named := line.partition("#")[0].strip())]


def without_local_label(pin):
    """`torch==2.13.0` for `torch==2.13.0+cpu`: the label differs from one index to the next."""
    return pin.partition("+")[0]


def refuse_cuda(pins):
    """Stop when torch came with CUDA: its packages would make the lock gigabytes."""
    cuda = [pin for pin in pins if pin.startswith(("nvidia-", "triton", "cuda-"))]
    if cuda:
        sys.exit(f"pip chose a CUDA build of torch ({cuda[0]}); let it find the CPU build first.")


if __name__ == "__main__":
    main()
