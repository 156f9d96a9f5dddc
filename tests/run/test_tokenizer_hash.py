"""A run is asked and exported with the tokenizer that it was trained with, or not at all."""

import json
import shutil

import pytest
from conftest import refused
from tokenizers_made import CLASSES, KINDS, write_base
from transformers import AutoTokenizer

import export
from threetoe.backend import model as backend
from threetoe.errors import UserError
from threetoe.prompt.tokenizer import fingerprint, with_cuts
from threetoe.run import contract
from threetoe.run import record as runs


@pytest.fixture
def exchanged(three_steps, here):
    """A run whose tokenizer has the ids of 300 tokens exchanged, none of them special."""
    folder = here / "run"
    shutil.copytree(three_steps, folder)
    path = folder / "tokenizer.json"
    state = json.loads(path.read_text(encoding="utf-8"))
    vocabulary = state["model"]["vocab"]
    names = sorted(vocabulary, key=vocabulary.get)[1000:1300]
    ids = [vocabulary[name] for name in names]
    vocabulary.update(zip(names, ids[::-1], strict=True))
    path.write_text(json.dumps(state), encoding="utf-8")
    return folder


def test_three_hundred_exchanged_ids_are_refused_in_one_line(exchanged, here):
    folder, run = runs.load(exchanged)
    with pytest.raises(UserError) as asked:  # as infer.py does before it loads the model
        contract.settled(folder, run, None, contract.load_tokenizer(folder, run), None)
    (line,) = refused(export, "--run", exchanged, "--merged", "merged")
    assert line == str(asked.value)
    assert "its tokenizer gives texts other ids than the run was trained with" in line


def test_a_run_from_before_the_hash_is_used_as_it_is(exchanged):
    path = exchanged / runs.RECORD
    values = json.loads(path.read_text(encoding="utf-8"))
    del values["tokenizer_hash"], values["marks"]["swallowing"]
    path.write_text(json.dumps(values), encoding="utf-8")
    folder, run = runs.load(exchanged)
    assert contract.settled(folder, run, None, contract.load_tokenizer(folder, run), None) is run


def test_the_hash_is_that_of_the_saved_tokenizer_and_of_no_other(tmp_path):
    """Of every class of tokenizers, in a run's folder and beside the base's config.json."""
    found = {}
    for name in CLASSES:
        base, saved = tmp_path / name / "base", tmp_path / name / "run"
        saved.mkdir(parents=True)
        write_base(name, base)
        trained = backend.load_tokenizer(base)
        backend.save_tokenizer(trained, saved, [trained.eos_token_id])
        found[name] = fingerprint(trained)
        assert fingerprint(AutoTokenizer.from_pretrained(saved)) == found[name]
        shutil.copy(base / "config.json", saved)
        assert fingerprint(AutoTokenizer.from_pretrained(saved)) == found[name]
    assert found.pop("Qwen2Tokenizer") == found["Qwen2Tokenizer of Qwen 3"]
    assert len({*found.values()}) == len(found)


def test_a_cut_that_the_tokenizer_does_not_drop_is_another_hash():
    tokenizer = KINDS["llama3"]()
    without = fingerprint(tokenizer)
    assert fingerprint(with_cuts(tokenizer)) != without
