"""The installed commands threetoe-train, threetoe-infer and threetoe-export."""

import runpy
from pathlib import Path

HERE = Path(__file__).parent


def train():
    run("train")


def infer():
    run("infer")


def export():
    run("export")


def run(script: str) -> None:
    runpy.run_path(str(path_of(script)))["main"]()


def path_of(script: str) -> Path:
    """A front door: it lies in threetoe/scripts/ once installed, at the root in a clone."""
    installed = HERE / "scripts"
    return (installed if installed.is_dir() else HERE.parent) / f"{script}.py"
