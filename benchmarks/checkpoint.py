"""What checkpoints cost: the share of the time between two, and what one of an 8B model takes.

python benchmarks/checkpoint.py [MODEL [STEPS]]   # a folder or Hub id; the embedded model, 40
"""

import statistics
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from threetoe.machine.libraries import load_unsloth

LLAMA = {"q": (4096, 4096), "k": (4096, 1024), "v": (4096, 1024), "o": (4096, 4096)}
LLAMA |= {"gate": (4096, 14336), "up": (4096, 14336), "down": (14336, 4096)}  # Llama 3 8B
LAYERS, RANK = 32, 16


@contextmanager
def timed(owner, name: str, times: list):
    """The seconds of every call of a method."""
    original = getattr(owner, name)

    def call(*args, **named):
        began = time.perf_counter()
        try:
            return original(*args, **named)
        finally:
            times.append(time.perf_counter() - began)

    setattr(owner, name, call)
    try:
        yield
    finally:
        setattr(owner, name, original)


def measure(model: str, steps: int) -> tuple[list[float], float, int]:
    """Seconds of each checkpoint, of the training with them, and the bytes of one."""
    from threetoe.options.train import TrainConfig
    from threetoe.train.durable import checkpoint
    from threetoe.train.durable.saving import Saving
    from threetoe.train.train import train

    saves, trainings, sizes = [], [], []
    write = checkpoint.write

    def weighed(*args):
        folder = write(*args)
        sizes.append(sum(path.stat().st_size for path in folder.iterdir()))
        return folder

    checkpoint.write = weighed
    with (
        TemporaryDirectory() as scratch,
        timed(Saving, "save", saves),
        timed(Saving, "go_on", trainings),
    ):
        folder = Path(scratch, "run")
        train(TrainConfig(model=model, dataset="sentiment", max_steps=steps, output_dir=folder))
    checkpoint.write = write
    return saves, trainings[0], max(sizes)


def main() -> None:
    load_unsloth()
    model, steps = (*sys.argv[1:], *("tiny", "40")[len(sys.argv) - 1 :])
    saves, whole, size = measure(model, int(steps))
    one = statistics.median(saves)
    between = (whole - sum(saves)) / len(saves)
    print(f"{len(saves)} checkpoints of {size / 1e6:.1f} MB in {steps} steps, {whole:.1f} s")
    print(f"one: median {one * 1000:.0f} ms, longest {max(saves) * 1000:.0f} ms")
    share = 100 * one / between
    print(f"share of the time between two: {share:.2f} %, of two minutes {one / 1.2:.3f} %")
    weights = LAYERS * RANK * sum(sum(shape) for shape in LLAMA.values())
    for bits, moments in (("8-bit", 2), ("fp32", 8)):
        of_8b = weights * (4 + moments)
        print(
            f"Llama 3 8B, r {RANK}, {bits} optimizer: {weights / 1e6:.1f} M numbers, "
            f"{of_8b / 1e6:.0f} MB (computed), written in {write_bytes(of_8b):.2f} s"
        )


def write_bytes(size: int) -> float:
    """Seconds to write, sync and hash a checkpoint of so many bytes."""
    import torch
    from safetensors.torch import save_file

    from threetoe.train.durable import checkpoint

    numbers = torch.rand(size // 4)
    with TemporaryDirectory() as run:
        began = time.perf_counter()
        checkpoint.write(Path(run), 1, {}, lambda folder: save_file({"x": numbers}, folder / "x"))
        return time.perf_counter() - began


if __name__ == "__main__":
    main()
