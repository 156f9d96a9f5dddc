"""The installed commands threetoe-train, threetoe-infer and threetoe-export."""

import runpy
from pathlib import Path

HERE = Path(__file__).parent


def train():
    run("train.py")


def infer():
    run("infer.py")


def export():
    run("export.py")


def run(script):
    """Run a front door: it lies in threetoe/scripts/ once installed, at the root in a clone."""
    installed = HERE / "scripts"
    folder = installed if installed.is_dir() else HERE.parent
    runpy.run_path(str(folder / script))["main"]()
