"""How long --help takes, beside the import of the two packages that it needs.

python benchmarks/start.py
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
ROUNDS = 15
COMMANDS = {
    "import click, yaml": ["-c", "import click, yaml"],
    "train.py --help": [ROOT / "train.py", "--help"],
    "infer.py --help": [ROOT / "infer.py", "--help"],
    "export.py --help": [ROOT / "export.py", "--help"],
}


def seconds(command) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main():
    """Alternate the commands, so that a busy moment meets them all; print medians and ratios."""
    times = {name: [] for name in COMMANDS}
    for _ in range(ROUNDS):
        for name, command in COMMANDS.items():
            times[name].append(seconds(command))
    base = statistics.median(times["import click, yaml"])
    for name, found in times.items():
        median = statistics.median(found)
        print(f"{name:<20} {median * 1000:6.0f} ms  {median / base:.2f} x")


if __name__ == "__main__":
    main()
