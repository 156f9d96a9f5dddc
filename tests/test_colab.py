"""requirements/colab.txt on Colab's GPU image: resolved by pip against stubs of what it brings."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def runs(python: str) -> bool:
    """Whether a name on the path is a Python, and no shim of one that is not chosen."""
    return subprocess.run([python, "--version"], capture_output=True).returncode == 0


PINS = ROOT / "requirements" / "colab.txt"
# Of pip-freeze.gpu.txt in github.com/googlecolab/backend-info, 2026-08-19: what ours ask for.
IMAGE = """
    accelerate==1.14.0 certifi==2026.7.22 click==8.4.2 datasets==4.0.0 diffusers==0.39.0 dill==0.3.8
    docstring_parser==0.18.0 einops==0.8.2 filelock==3.32.3 fsspec==2025.3.0 hf-xet==1.6.0
    httpx==0.28.1 huggingface_hub==1.27.0 Jinja2==3.1.6 multiprocess==0.70.16 nest-asyncio==1.6.0
    numpy==2.1.3 packaging==26.3 pandas==2.2.3 peft==0.20.0 pillow==11.3.0 pluggy==1.6.0
    protobuf==5.29.6 psutil==5.9.5 pyarrow==18.1.0 pydantic==2.13.4 PyYAML==6.0.3
    regex==2025.11.3 requests==2.32.4 rich==13.9.4 safetensors==0.8.0 sentencepiece==0.2.2
    tokenizers==0.22.2 torch==2.11.0+cu128 torchao==0.10.0 torchvision==0.26.0+cu128 tqdm==4.67.3
    transformers==5.15.0 triton==3.6.0 typeguard==4.6.0 typer==0.27.1 typing_extensions==4.16.0
    wheel==0.48.0 xxhash==4.0.1
""".split()
KEPT = ("torch", "torchvision", "triton", "numpy")
HARMLESS = {("unsloth", "certifi"), ("unsloth-zoo", "certifi")}  # newer than indexes have; any does
OTHERS = filter(None, map(shutil.which, ("python3.12", "python3.13")))
PYTHONS = [sys.executable, *(python for python in OTHERS if runs(python))]


def pinned(lines) -> dict[str, str]:
    found = [line.partition("#")[0].strip().partition("==") for line in lines]
    return {canonicalize_name(name): version for name, _, version in found if name}


def an_image(folder: Path, python: str) -> list[str]:
    """pip of a new environment whose packages are stubs of the image's."""
    subprocess.run([python, "-m", "venv", folder], check=True)
    place = next(folder.glob("lib/python*/site-packages"))
    for name, version in (line.split("==") for line in IMAGE):
        stub = place / f"{name.replace('-', '_')}-{version}.dist-info"
        stub.mkdir()
        about = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        (stub / "METADATA").write_text(about, encoding="utf-8")
        (stub / "INSTALLER").write_text("pip\n", encoding="utf-8")
        (stub / "RECORD").write_text("", encoding="utf-8")
    return [folder / "bin" / "python", "-m", "pip", "--disable-pip-version-check"]


def would_install(pip: list, *asked) -> dict[str, dict]:
    """{name: metadata} of what pip says it would install."""
    call = [*pip, "install", "-q", "--dry-run", "--report", "-", *asked]
    done = subprocess.run(call, capture_output=True, text=True, cwd=ROOT, env=os.environ)
    assert done.returncode == 0, done.stderr
    entries = json.loads(done.stdout)["install"]
    return {canonicalize_name(e["metadata"]["name"]): e["metadata"] for e in entries}


def test_what_is_installed_on_colab_is_what_was_tested():
    """tests/cuda trains with the versions of the lock."""
    lock = (ROOT / "requirements" / "cpu.txt").read_text(encoding="utf-8").splitlines()
    colab = pinned(PINS.read_text(encoding="utf-8").splitlines())
    assert colab.keys() - pinned(lock).keys() == {"torchao", "xformers"}
    assert {**colab, **pinned(lock)} == {**pinned(lock), **colab}
    assert colab["unsloth"] == colab["unsloth-zoo"]


@pytest.mark.wide
@pytest.mark.parametrize("python", PYTHONS)
def test_the_pins_resolve_on_colabs_image_and_leave_its_torch_alone(tmp_path, python):
    pip = an_image(tmp_path / "image", python)
    first = would_install(pip, "-e", ".[web]", "-c", PINS)  # the notebook's; README's is a part
    second = would_install(pip, "--no-deps", "-r", PINS)
    for name in KEPT:
        assert name not in {**first, **second}, name
    versions = {name: made["version"] for name, made in {**first, **second}.items()}
    assert pinned(PINS.read_text(encoding="utf-8").splitlines()).items() <= {
        **pinned(IMAGE), **versions,
    }.items()  # fmt: skip
    there = pinned(IMAGE) | versions
    unmet = []
    for name, metadata in {**first, **second}.items():
        for text in metadata.get("requires_dist", []):
            needed = Requirement(text)
            wanted, applies = canonicalize_name(needed.name), needed.marker
            if applies and not applies.evaluate({"extra": ""}):
                continue
            met = wanted in there and needed.specifier.contains(there[wanted], prereleases=True)
            if not met and (name, wanted) not in HARMLESS:
                unmet.append(f"{name} needs {text}, there is {there.get(wanted)}")
    assert unmet == []
