"""Several --run: each under its own template, a base that they share loaded once, in every mode."""

import csv
import json
import re
import shutil
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
from conftest import ROOT, TINY, refused, run_script
from hollow import write_hollow

import infer
from threetoe import api
from threetoe.backend.sizes import linears_of_llama
from threetoe.infer import conversation, several, web
from threetoe.infer.chat import Chat
from threetoe.options.infer import InferConfig

QUESTION = "Classify the sentiment of the text."
ROWS = [{"instruction": QUESTION, "input": text, "no": n, "output": "Negative"}
        for n, text in enumerate(("The waiter was rude to us.", "What a lovely day!"))]  # fmt: skip


@pytest.fixture(scope="module")
def runs(demo, three_steps):
    return {"demo": demo[0], "three": three_steps}


@pytest.fixture(scope="module")
def loaded(runs):
    config = InferConfig(run=tuple(runs.values()), web=True, max_new_tokens=8)
    share = several.Share(keeps=True)
    calls = several.each(config).items()
    return {name: conversation.load(call, share) for name, call in calls}


@pytest.fixture(scope="module")
def alone(runs):
    """The answer of each, asked alone, and of the base."""
    asked = {"input": ROWS[0]["input"], "max_new_tokens": 8}
    found = {name: api.infer(QUESTION, run=run, **asked) for name, run in runs.items()}
    return found | {"base": api.infer(QUESTION, run=runs["demo"], adapter=False, **asked)}


def test_a_page_has_a_column_for_each_run_and_one_for_the_base_they_share(loaded, alone):
    assert len({id(one.model) for one in loaded.values()}) == 1
    sides = web.sides_of(loaded)
    assert list(sides) == ["demo", "three", "base"]
    for _ in range(2):  # an adapter that was set leaves nothing behind
        press = web.answering(list(sides.values()), again=False)
        *_, last = press(QUESTION, ROWS[0]["input"], "", 0.0, 8, [], [], [])
        answers = [[turns[-1]["content"]] for turns in last[:3]]
        assert dict(zip(sides, answers, strict=True)) == alone
    assert alone["demo"] != alone["three"]
    parts = web.page(sides).get_config_file()["components"]
    (told,) = (part["props"]["value"] for part in parts if part["type"] == "html")
    pictures = [part["props"]["label"] for part in parts if part["type"] == "image"]
    assert re.findall(r"<p>(\w+): base tiny", told) == pictures == ["demo", "three"]


def test_a_turn_of_a_chat_is_asked_of_each_run(loaded, capsys):
    talks = [Chat(one) for one in loaded.values()]
    for talk in talks:
        talk.take(QUESTION)
    assert talks[0].turns != talks[1].turns


def test_a_file_has_the_answers_of_each_run_beside_its_rows(runs, here):
    (here / "rows.json").write_text(json.dumps(ROWS))
    flags = [flag for run in runs.values() for flag in ("--run", run)]
    flags += ["--file", "rows.json", "--max-new-tokens", 8]
    run_script("infer.py", *flags, "--output", "a.csv", cwd=here)
    (here / "kill.py").write_text(
        "import os, signal\n\ndef map_reply(reply, config):\n"
        "    if config.run.name != 'demo':\n        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return reply\n"
    )
    flags += ["--plugin", "kill.py", "--output", "b.jsonl"]
    killed = [sys.executable, ROOT / "infer.py", *flags]  # while the second run is asked
    assert subprocess.run([*map(str, killed)], cwd=here).returncode == -signal.SIGKILL
    (here / "kill.py").write_text("def map_reply(reply, config):\n    return reply\n")
    done = run_script("infer.py", *flags, cwd=here)
    assert "demo:\n2 of 2 were answered before" in done.stderr
    assert "three:\n0 of 2 exactly right" in done.stderr
    with (here / "a.csv").open(encoding="utf-8-sig", newline="") as file:
        table = list(csv.DictReader(file))
    lines = [json.loads(line) for line in (here / "b.jsonl").read_text().splitlines()]
    assert [row["input"] for row in table] == [row["input"] for row in ROWS]
    for name, run in runs.items():
        expected = api.infer(file="rows.json", run=run, max_new_tokens=8)
        for found in (table, lines):
            assert [row[f"answer ({name})"] for row in found] == expected
    assert list(here.glob("*.partial")) == []


def test_an_adapter_of_another_base_is_one_line_before_a_model_loads(runs, here):
    known = json.loads((TINY / "config.json").read_text(encoding="utf-8"))
    layers, asked = known["num_hidden_layers"], ["Hi", "--run", runs["demo"], "--model", "base"]
    base = shutil.copytree(TINY, here / "base")
    place = f"--model base: --run {runs['demo']} is of another base: base_model.model.model.layers."
    for changes, said in (
        ({"hidden_size": 2 * known["hidden_size"]}, "; this takes "),
        ({"num_hidden_layers": layers - 1}, "; this has no such matrix."),
    ):
        sizes = SimpleNamespace(**known | changes)
        shapes = {f"{m.name}.weight": (m.outputs, m.inputs) for m in linears_of_llama(sizes)}
        shapes["model.embed_tokens.weight"] = (sizes.vocab_size, sizes.hidden_size)
        write_hollow(base / "model.safetensors", shapes)
        (base / "config.json").write_text(json.dumps(known | changes), encoding="utf-8")
        for more in ([], ["--run", runs["three"]]):
            line, *others = refused(infer, *asked, *more)
            assert line.startswith(place) and said in line and len(others) == len(more) / 2
    shutil.rmtree(base)
    shutil.copytree(TINY, base)
    path = base / "tokenizer.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    one, other = list(values["model"]["vocab"])[-2:]
    swapped = {one: values["model"]["vocab"][other], other: values["model"]["vocab"][one]}
    values["model"]["vocab"] |= swapped
    path.write_text(json.dumps(values), encoding="utf-8")
    (line,) = refused(infer, *asked)
    assert line.startswith(f"--model base has another vocabulary than --run {runs['demo']}: ")
    write_hollow(base / "model.safetensors", {"transformer.h.0.attn.c_attn.weight": (64, 192)})
    (base / "config.json").write_text('{"model_type": "gpt2"}', encoding="utf-8")
    (line,) = refused(infer, *asked)
    assert "is of another base: this has no down_proj, gate_proj, " in line


def test_runs_that_cannot_be_told_apart_or_asked_together_are_refused(runs, here):
    run = runs["three"]
    assert refused(infer, "Hi", "--run", run, "--run", run) == [f"--run {run} is given twice."]
    asked = ["--run", run, "--run", runs["demo"]]
    (line,) = refused(infer, *asked, "--file", "sentiment")
    assert line == "Several --run with --file need --output: a row has the answer of each."
    shutil.copytree(run, here / "three")
    alike = (run, here / "three", here / "x-y" / "three", here / "x" / "y" / "three")
    calls = several.each(InferConfig(run=alike, output=here / "a.csv"))
    assert len({call.output for call in calls.values()}) == len(calls) == 4
    assert "y/three" in calls
