"""What cannot be loaded is one line, and no code of a base or run is ever run."""

import json
import shutil

from conftest import TINY, run_script

from threetoe.backend.model import cannot_load

EVIL = "open('ran', 'w')\n\nclass Evil:\n    pass\n"
YES = "y\n" * 50


def a_base(folder, **config):
    """The embedded model with other values in its config.json."""
    shutil.copytree(TINY, folder)
    change(folder / "config.json", **config)
    return folder


def change(file, **values):
    kept = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**kept, **values}), encoding="utf-8")


def refusal(done):
    """The one line that a call was refused with; its data may have been told before."""
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1, done.stderr
    assert "Traceback" not in done.stderr
    return errors[0]


def test_code_of_a_base_is_not_run_whatever_stands_on_standard_input(here):
    a_base(here / "base", model_type="evil", auto_map={"AutoConfig": "evil.Evil"})
    (here / "base" / "evil.py").write_text(EVIL)
    done = run_script("train.py", "--model", "base", cwd=here, code=2, input=YES)
    assert "base cannot be loaded: " in refusal(done)
    assert not (here / "ran").exists()


def test_code_of_a_run_is_not_run_whatever_stands_on_standard_input(three_steps, here):
    shutil.copytree(three_steps, here / "run")
    change(
        here / "run" / "tokenizer_config.json",
        auto_map={"AutoTokenizer": ["evil.Evil", "evil.Evil"]}, tokenizer_class="Evil",
    )  # fmt: skip
    (here / "run" / "evil.py").write_text(EVIL)
    done = run_script("infer.py", "Hi", "--run", "run", cwd=here, code=2, input=YES)
    assert "cannot be loaded: " in refusal(done)
    assert not (here / "ran").exists()
    assert done.stdout == ""


def test_an_error_of_unsloths_own_is_told_by_what_caused_it():
    error = RuntimeError("Unsloth: Failed to load model. Both loadings failed.\n\nAutoConfig:")
    error.__cause__ = OSError("no/base is not a local folder.\nIt is not on the Hub either.")
    assert cannot_load("no/base", error) == (
        "no/base cannot be loaded: no/base is not a local folder. Name a local folder or another "
        "Hub id with --model."
    )
