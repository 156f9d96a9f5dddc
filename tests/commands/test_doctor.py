"""Doctor: what is installed is judged from its metadata, and what would stop a run ends with 1."""

import json
import os
import subprocess
import sys

import pytest
from conftest import ROOT

from threetoe.machine.packages import installed, judge

RIGHT = {
    "torch": "2.11.0+cu128", "torchvision": "0.26.0+cu128", "torchao": "0.18.0",
    "unsloth": "2026.10.7", "unsloth_zoo": "2026.10.7", "transformers": "5.15.0",
}  # fmt: skip
WISHES = {
    "unsloth": ("transformers<=5.17.0,>=4.51.3,!=5.1.0", "certifi>=2026.10.19", "xformers"),
    "torchvision": ("torch==2.11.0",),
    "threetoe": ("peft<1,>=0.18",),
}


def make(folder, **versions):
    """Stubs of packages: their metadata alone."""
    for name, version in versions.items():
        place = folder / f"{name}-{version}.dist-info"
        place.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        lines += [f"Requires-Dist: {wish}" for wish in WISHES.get(name, ())]
        (place / "METADATA").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def findings(folder, has_gpu=True, **changes):
    versions = {n: v for n, v in (RIGHT | changes).items() if v}
    return list(judge(installed([str(make(folder, **versions))]), has_gpu))


def test_colabs_packages_with_a_gpu_are_right(tmp_path):
    assert findings(tmp_path, certifi="2026.7.22") == []


@pytest.mark.parametrize(
    ("changes", "about", "said", "mend"),
    [
        ({"torchao": "0.10.0"}, "torchao", "PEFT refuses one before 0.16", "pip uninstall torchao"),
        ({"torch": "2.10.0+cu128", "torchvision": None}, "torchao", "below 2.11", "uninstall"),
        ({"torch": "2.11.0+cpu"}, "torchvision", "of another build than torch 2.11.0+cpu", "index"),
        ({"torchvision": "0.26.0", "torch": "2.11.0+cpu"}, "torchvision", "another build", "index"),
        ({"torch": "2.12.0", "torchvision": "0.26.0"}, "torch", "asks for torch==2.11.0", "==2.11"),
        ({"transformers": "5.18.0"}, "transformers", "unsloth 2026.10.7 asks for", "pip install"),
        ({"has_gpu": False}, "unsloth", "it needs a GPU", "unsloth==2026.10.9 unsloth_zoo=="),
        ({"unsloth_zoo": None}, "unsloth", "that is missing", "unsloth_zoo==2026.10.7"),
        ({"unsloth": None, "unsloth_zoo": None}, "unsloth", "not installed", "make demo"),
        ({"threetoe": "0.1.0"}, "peft", "not installed; threetoe 0.1.0 asks", "'peft<1"),
    ],
)  # fmt: skip
def test_each_pair_that_does_not_go_together_is_named_with_its_mend(
    tmp_path, changes, about, said, mend
):
    (found,) = findings(tmp_path, **changes)
    assert found.about == about and found.stops
    assert said in found.said and mend in found.mend


def doctor(path, *words, code=0):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "threetoe", "doctor", *words], cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(path), "HF_HUB_OFFLINE": "1", "HF_TOKEN": ""},
        capture_output=True, text=True, encoding="utf-8", timeout=100,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done


def test_this_machine_can_train_which_is_said_without_heavy_imports(tmp_path):
    done = doctor(tmp_path)
    assert "✗" not in done.stdout and "✓ memory: " in done.stdout
    assert "Llama 8B in 4 bits: " in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not imported & {"torch", "transformers", "datasets", "unsloth"}


def test_what_would_stop_a_run_is_exit_code_1_and_json_says_the_same(tmp_path):
    make(tmp_path, torchao="0.10.0")
    found = json.loads(doctor(tmp_path, "--json", code=1).stdout)
    (stopping,) = [one for one in found["findings"] if one["stops"]]
    assert stopping["about"] == "torchao"
    assert [fit["size"] for fit in found["fits"]] == ["1B", "3B", "8B", "70B"]
    assert f"    {stopping['mend']}" in doctor(tmp_path, code=1).stdout
