"""A look at rows costs no import of torch, transformers or datasets, and shows what is trained."""

import json
import subprocess
import sys

import pytest
from conftest import ROOT, TINY
from tokenizers_made import KINDS

from threetoe.backend.model import load_tokenizer
from threetoe.backend.tokenizer_file import read_tokenizer
from threetoe.prompt.tokenizer import marks_of

HEAVY = ("torch", "transformers", "datasets")


@pytest.mark.parametrize("look", ["--preview=2", "--dry-run"])
def test_a_look_at_the_embedded_model_imports_nothing_heavy(look, here):
    (here / "a.json").write_text(json.dumps([{"prompt": "q", "completion": "a"}] * 40))
    script = (
        "import sys; from click.testing import CliRunner; import train\n"
        f"done = CliRunner().invoke(train.main, ['--dataset', 'a.json', '{look}'])\n"
        f"print(done.output, done.exit_code, sorted(set(sys.modules) & set({HEAVY!r})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=here, capture_output=True, text=True, timeout=100,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "XDG_CACHE_HOME": str(here)},
    )  # fmt: skip
    assert done.stdout.splitlines()[-1].endswith("0 []"), done.stdout + done.stderr


def test_a_tokenizer_read_from_its_files_is_that_of_transformers():
    light, whole = read_tokenizer(TINY), load_tokenizer("tiny")
    assert light.backend_tokenizer.to_str() == whole.backend_tokenizer.to_str()
    assert marks_of(light) == marks_of(whole)
    assert len(light) == len(whole)
    assert (light.bos_token_id, light.eos_token_id) == (whole.bos_token_id, whole.eos_token_id)
    ids = whole("Hé <|end_of_text|> there").input_ids
    assert light("Hé <|end_of_text|> there").input_ids == ids
    assert light.decode(ids) == whole.decode(ids)


def test_tokenizers_of_other_classes_and_families_are_left_to_transformers(tmp_path):
    for name, make in KINDS.items():
        folder = tmp_path / name
        make().save_pretrained(folder)
        (folder / "config.json").write_text('{"model_type": "gemma"}')
        assert read_tokenizer(folder) is None
