"""python -m threetoe doctor: whether this machine can train, and what of which size."""

import json
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import click

from threetoe.backend import memory
from threetoe.backend.sizes import linears_of_llama
from threetoe.errors import UserError
from threetoe.machine.files import folder
from threetoe.machine.hub import ask_who, endpoint, gives_a_sign
from threetoe.machine.libraries import CACHE, has_driver, has_gpu
from threetoe.machine.packages import Finding, installed, judge
from threetoe.machine.space import place_of
from threetoe.machine.terminal import shown
from threetoe.options.train import TrainConfig

SHOWN = ("torch", "transformers", "trl", "peft", "accelerate", "bitsandbytes", "unsloth")
DISK = 8 * 10**9  # bytes: an 8B base in 4 bits, checkpoints, a run
OLDEST = (7, 0)  # compute capability that Unsloth supports
ROWS, LENGTH = 16, 2048
LLAMAS = {  # as in config.json of unsloth/Llama-3.2-1B, Llama-3.2-3B, llama-3-8b, llama-3-70b
    "1B": (2048, 8192, 16, 32, 8, 64, True),
    "3B": (3072, 8192, 28, 24, 8, 128, True),
    "8B": (4096, 14336, 32, 32, 8, 128, False),
    "70B": (8192, 28672, 80, 64, 8, 128, False),
}  # fmt: skip
FIELDS = (
    "hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads "
    "head_dim tie_word_embeddings"
).split()


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def doctor(as_json):
    """Say what this machine lacks for a training.

    And what mends it. Exit code 1 where something would stop a run. Nothing heavy is imported, but
    torch where there is a GPU; the Hub is asked whose token is in use.
    """
    found = [*findings()]
    fits = [*sizes_that_fit()]
    if as_json:
        said = {"findings": [one._asdict() for one in found], "fits": fits}
        click.echo(json.dumps(said, indent=2, ensure_ascii=False))
    else:
        for one in found:
            mark = "✗" if one.stops else "!" if one.mend else "✓"
            click.echo(f"{mark} {one.about}: {one.said}" + f"\n    {one.mend}" * bool(one.mend))
        click.echo("\n".join(map(line_of, fits)))
    return int(any(one.stops for one in found))


def findings() -> Iterator[Finding]:
    there, on_gpu = installed(), has_gpu()
    yield Finding("Python", platform.python_version())
    tested = tested_versions(on_gpu)
    for name in filter(there.get, SHOWN):
        version, known = there[name].version, tested.get(name)
        other = f"; tested with {known}" * bool(known and version.partition("+")[0] != known)
        yield Finding(name, version + other)
    yield from judge(there, on_gpu)
    yield gpu() if on_gpu else no_gpu()
    free = memory.free_memory()
    yield Finding("memory", f"{shown(free)} free" if free else "not known on this system")
    yield disk()
    yield login()


def tested_versions(on_gpu: bool) -> dict[str, str]:
    """What a clone pins; none in an installation from a wheel."""
    pins = folder("models").parent / "requirements" / ("colab.txt" if on_gpu else "cpu.txt")
    lines = pins.read_text(encoding="utf-8").splitlines() if pins.is_file() else []
    words = (line.partition("#")[0].strip().partition("==") for line in lines)
    return {name: version for name, _, version in words if version}


def gpu() -> Finding:
    import torch

    name, capability = torch.cuda.get_device_name(), torch.cuda.get_device_capability()
    kind = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    _, total = torch.cuda.mem_get_info()
    said = f"{name}, {shown(total)}, trains in {kind}; CUDA {torch.version.cuda}"
    if capability < OLDEST:
        return Finding("GPU", f"{said}; Unsloth needs one of 2018 or later", "another GPU", True)
    return Finding("GPU", said)


def no_gpu() -> Finding:
    if has_driver():
        mend = "install a torch that is built for it (pytorch.org/get-started)"
        return Finding("GPU", "there is a driver, and torch finds no GPU", mend)
    return Finding("GPU", "none: small bases train on the CPU; on Colab choose a runtime with one")


def disk() -> Finding:
    places = {place_of(path) for path in (Path(), CACHE)}
    place = min(places, key=lambda one: shutil.disk_usage(one).free)
    free = shutil.disk_usage(place).free
    said = f"{shown(free)} free on {place}"
    mend = f"make room: an 8B base in 4 bits and its run take {shown(DISK)}" * (free < DISK)
    return Finding("disk", said, mend)


def login() -> Finding:
    from huggingface_hub import get_token

    if get_token() is None:
        return Finding("Hub", "no token: needed for --push and for bases behind a licence alone")
    if not gives_a_sign(endpoint()):
        return Finding("Hub", f"a token, and no answer from {endpoint()}")
    try:
        return Finding("Hub", f"logged in as {ask_who()['name']}")
    except UserError as error:
        return Finding("Hub", "the token is of no use", str(error))


def sizes_that_fit() -> Iterator[dict]:
    """For each size of Llama 3 in 4 bits: the most rows of LENGTH tokens at a time, and the longest
    row alone, by the estimate of backend/memory.py."""
    free, on_gpu = memory.free_memory(), has_gpu()
    config = TrainConfig(load_in_4bit=True)
    for name, values in LLAMAS.items() if free else ():
        sizes = SimpleNamespace(**dict(zip(FIELDS, values, strict=True)), vocab_size=128256)
        need = memory.need(config, sizes, linears_of_llama(sizes), on_gpu)
        longest = need.longest_row(128 * 1024, free)
        yield {"size": name, "rows": need.most_rows(LENGTH, free, ROWS), "longest": longest}


def line_of(fit: dict) -> str:
    if not fit["longest"]:
        return f"  Llama {fit['size']} in 4 bits: does not fit"
    rows, longest = fit["rows"], f"one of {fit['longest']:,}"
    many = f"{rows} row{'s' * (rows > 1)} of {LENGTH:,} tokens at a time, or " * bool(rows)
    return f"  Llama {fit['size']} in 4 bits: {many}{longest}"
