"""The example plugins, all four in one real training, question and export."""

import json

import pytest
from conftest import ROOT, run_script
from safetensors import safe_open

NAMES = ["scrub_emails", "last_layers", "neftune", "history"]
PLUGINS = [ROOT / "plugins" / f"{name}.py" for name in NAMES]
FLAGS = [flag for plugin in PLUGINS for flag in ("--plugin", plugin)]


@pytest.fixture(scope="module")
def plugged(tmp_path_factory):
    """A folder with a run of two steps and its exported adapter, all four plugins loaded."""
    here = tmp_path_factory.mktemp("plugged")
    rows = [{"prompt": "Write to ada@example.org", "completion": f"{n}@x.org"} for n in range(8)]
    (here / "my.json").write_text(json.dumps(rows))
    run_script(
        "train.py", "--dataset", "my.json", "--max-steps", 2, "--output-dir", "runs/one", *FLAGS,
        cwd=here,
    )  # fmt: skip
    run_script("export.py", "--adapter", "runs/adapter", *FLAGS, cwd=here)
    return here


def test_every_example_is_tried_here():
    assert sorted(PLUGINS) == sorted((ROOT / "plugins").glob("*.py"))


def test_addresses_are_not_in_what_the_model_sees(plugged):
    shown = run_script(
        "train.py", "--dataset", "my.json", "--preview", 2, *FLAGS, cwd=plugged
    ).stdout
    assert "Write to [email]" in shown
    assert "⟦[email]<|end_of_text|>⟧" in shown
    assert "@" not in shown


def test_the_card_says_that_addresses_were_replaced(plugged):
    card = (plugged / "runs" / "adapter" / "README.md").read_text()
    assert card.endswith("E-mail addresses were replaced by [email] before training.\n")


def test_only_the_last_layers_learn(plugged):
    with safe_open(plugged / "runs" / "one" / "adapter_model.safetensors", "pt") as file:
        learned = {
            name.split(".layers.")[1].split(".")[0]
            for name in file.keys()  # noqa: SIM118
            if name.endswith("lora_B.weight") and file.get_tensor(name).any()
        }
    assert learned == {"2", "3"}


def test_history_has_a_line_for_the_training_and_one_for_the_export(plugged):
    lines = (plugged / "runs" / "history.jsonl").read_text().splitlines()
    training, export = map(json.loads, lines)
    assert (training["trained"], training["steps"]) == ("one", 2)
    assert (export["exported"], export["format"]) == ("adapter", "adapter")


def test_noise_reaches_the_trainer(plugged):
    """NEFTune changes the losses of the same run."""
    flags = [f for p in PLUGINS if p.stem not in ("neftune", "history") for f in ("--plugin", p)]
    run_script(
        "train.py", "--dataset", "my.json", "--max-steps", 2, "--output-dir", "runs/two", *flags,
        cwd=plugged,
    )  # fmt: skip
    one, two = (
        json.loads((plugged / "runs" / name / "metrics.jsonl").read_text().splitlines()[0])["loss"]
        for name in ("one", "two")
    )
    assert one != two
