"""notebooks/colab.ipynb: run as Jupyter runs it, with the embedded model; documented commands."""

import os
import re
import sys
from pathlib import Path

import nbformat
import pytest
from conftest import ROOT
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

NOTEBOOK = ROOT / "notebooks" / "colab.ipynb"
PAGES = [ROOT / "README.md", ROOT / "docs" / "training.md"]


def read():
    return nbformat.read(NOTEBOOK, nbformat.NO_CONVERT)


def cell(notebook, name):
    (found,) = [one for one in notebook.cells if one.id == name]
    return found


def run(notebook, folder):
    """The notebook with its outputs; it is run in a folder that looks like the clone."""
    for entry in ROOT.iterdir():
        if entry.name not in ("runs", "notebooks") and not (folder / entry.name).exists():
            (folder / entry.name).symlink_to(entry)
    place = {"metadata": {"path": str(folder)}}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    client = NotebookClient(notebook, timeout=300, resources=place)
    return client.execute(env={**os.environ, "PATH": path})


def said(cell):
    return "".join(one.get("text", "") for one in cell.outputs)


def with_parameters(notebook, **values):
    form = cell(notebook, "parameters")
    for name, value in values.items():
        form.source, found = re.subn(rf"(?m)^{name} = .*$", f"{name} = {value!r}", form.source)
        assert found == 1, name
    return notebook


def test_it_trains_asks_and_exports_and_in_another_session_takes_what_is_there(tmp_path):
    asked = {"MODEL": "tiny", "STEPS": 2}
    once = run(with_parameters(read(), **asked), tmp_path)
    assert "### Instruction:" in said(cell(once, "preview"))
    assert (tmp_path / "runs-kept" / "my-run" / "run.json").is_file()
    assert cell(once, "curve").outputs[0].data["image/png"]
    assert said(cell(once, "ask"))
    assert "trained" in cell(once, "compare").outputs[-1].data["text/html"]
    assert cell(once, "page").execution_count  # it ends well where the page answers
    assert (tmp_path / "my-run-merged" / "model.safetensors").is_file()

    (tmp_path / "runs" / "my-run" / "run.json").unlink()  # a new machine has none of it
    later = with_parameters(read(), **asked)
    later.cells = later.cells[: later.cells.index(cell(later, "curve"))]
    later.cells.remove(cell(later, "preview"))
    assert "was trained in an earlier session" in said(cell(run(later, tmp_path), "train"))


def test_without_a_gpu_it_says_what_to_do_and_stops(tmp_path):
    notebook = read()
    with pytest.raises(CellExecutionError, match="Change runtime type > T4 GPU"):
        run(notebook, tmp_path)
    assert cell(notebook, "install").execution_count is None


def test_it_is_committed_without_outputs_and_every_cell_is_short():
    cells = [one for one in read().cells if one.cell_type == "code"]
    assert [one.id for one in cells if one.outputs or one.execution_count] == []
    assert [one.id for one in cells if one.source.count("\n") > 12] == []


def test_its_commands_are_those_of_the_documentation():
    pages = "\n".join(Path(page).read_text("utf-8") for page in PAGES)
    calls = re.findall(r"(?m)^ *!(?:python )?(\w+(?:\.py)?)(.*)$", "\n".join(
        one.source for one in read().cells if one.cell_type == "code"
    ))  # fmt: skip
    assert {name for name, _ in calls} == {"pip", "train.py", "infer.py", "export.py"}
    for name, rest in calls:
        assert name in pages
        for flag in re.findall(r"--[a-z-]+", rest):
            assert flag in pages, (name, flag)
