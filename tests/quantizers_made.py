"""A machine without llama.cpp's quantizer, and a program that stands in for it."""

import sys

import pytest

from threetoe.export.gguf import types as quantize

WIDE = {"hidden_size": 256, "intermediate_size": 256}
PROGRAM = """#!{python}
import json, shutil, sys
json.dump(sys.argv[1:], open({log!r}, "w"))
{fails}shutil.copyfile(sys.argv[1], sys.argv[2])
"""


@pytest.fixture(name="without_ggml")
def without_ggml_fixture(monkeypatch, tmp_path):
    """A machine on which no package brings llama.cpp, with an empty PATH."""
    for package in quantize.LIBRARIES:
        monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("UNSLOTH_LLAMA_CPP_PATH", str(tmp_path / "none"))
    quantize.ggml.cache_clear()
    yield tmp_path / "bin"
    quantize.ggml.cache_clear()


def put_program(folder, fails=""):
    folder.mkdir()
    log, path = str(folder / "log"), folder / "llama-quantize"
    path.write_text(PROGRAM.format(python=sys.executable, log=log, fails=fails), encoding="utf-8")
    path.chmod(0o755)
    return folder / "log"
