"""The model card: valid for the Hub, right for each kind of export, silent about the machine."""

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import TINY, run_script
from hub_server import hub_fixture  # noqa: F401  the fixture `hub`
from huggingface_hub import ModelCard

from threetoe.export.card.card import quoted, render_card
from threetoe.export.card.facts import facts_of, license_of, sample_of, told_with_the_base
from threetoe.export.formats import FORMATS
from threetoe.machine.files import write_json
from threetoe.options.train import TrainConfig, options_of
from threetoe.run import record as runs
from threetoe.run.told import evaluations_in

LENGTHS = {"median": 60, "p95": 69, "longest": 1077, "max_seq_length": 2048}
SST2 = {"file": "sst2", "split": "test", "answers": 180}
FACTS = {
    "name": "hotel",
    "model": "unsloth/llama-3-8b-bnb-4bit",
    "license": {"license": "llama3"},
    "template": {"name": "alpaca", "example": "### Instruction:\n用```python\n\n### Response:\n好"},
    "options": options_of(
        TrainConfig(max_steps=60, learning_rate=2e-4, dataset="ada/rows", weight_decay=0.5)
    ),
    "defaults": options_of(TrainConfig()),
    "data": {
        "source": "/home/ada/secret/my.json", "read": 1200, "trained": 1000, "validation": 100,
        "dropped": {"no answer": 60}, "skipped": {"too short": 40}, "truncated": 3,
        "duplicates": 7, "tokens": 52199, "lengths": LENGTHS,
        "answers": {"Positive": 600, "a|b": 5},
    },
    "metrics": {"train_loss": 0.123456, "steps": 60, "peak_memory": 2_100_000_000},
    "packages": {"unsloth": "2026.10.9", "peft": "0.21.2"},
    "evaluations": [
        {"adapter": True, **SST2, "metrics": {"exact": 0.9}},
        {"adapter": False, **SST2, "metrics": {"exact": 0}},
    ],
    "verify": {
        "passed": True, "prompts": 8, "gap": {"max": 0.0222, "mean": 0.00266},
        "tokens": {"same": 464, "positions": 465}, "kept": 0.984, "problems": [],
    },
    "vocab_size": 0, "precision": "8B parameters in 4 bits", "curve": [], "picture": None,
    "confusion": None, "sample": None, "gguf": ["hotel.q8_0.gguf"], "modelfile": True,
}  # fmt: skip


def card(facts, kind, repo_id=None):
    return render_card(facts, FORMATS[kind].card, repo_id)


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.S)


# The head


@pytest.mark.parametrize(
    ("kind", "library", "relation"),
    [
        ("adapter", "peft", "adapter"),
        ("merged", "transformers", "finetune"),
        ("merged-4bit", "transformers", "quantized"),
        ("gguf", "gguf", "quantized"),
        ("ollama", "gguf", "quantized"),
    ],
)
def test_the_metadata_is_what_the_hub_reads(kind, library, relation):
    data = ModelCard(card(FACTS, kind, "ada/model")).data
    (result,) = data.eval_results
    assert (result.task_type, result.dataset_type, result.dataset_split) == (
        "text-generation", "sst2", "test",
    )  # fmt: skip
    assert (result.metric_type, result.metric_value) == ("exact_match", 0.9)
    assert data.model_name == "model"
    data = data.to_dict()
    assert data["base_model"] == FACTS["model"] and data["license"] == "llama3"
    assert data["library_name"] == library and data["base_model_relation"] == relation
    assert data["pipeline_tag"] == "text-generation" and data["datasets"] == ["ada/rows"]
    assert {"threetoe", "unsloth"} <= set(data["tags"])


@pytest.mark.parametrize("kind", FORMATS)
def test_the_metadata_survives_the_librarys_own_writing(kind):
    first = ModelCard(card(FACTS, kind, "ada/model"))
    assert ModelCard(str(first)).data.to_dict() == first.data.to_dict()


def test_what_is_not_known_is_left_out():
    facts = {
        **FACTS,
        "license": {},
        "evaluations": [],
        "options": {"load_in_4bit": True},
        "data": {},
    }
    data = ModelCard(card(facts, "merged")).data.to_dict()
    assert not {"license", "datasets", "language", "model-index"} & data.keys()
    assert "not stated here; see the base" in card(facts, "merged")


def test_the_language_is_the_one_that_was_asked_for():
    options = {**FACTS["options"], "dataset_option": [["lang", "zh"]]}
    assert ModelCard(card({**FACTS, "options": options}, "adapter")).data.language == ["zh"]


def test_nothing_exactly_right_is_told_beside_the_base_alone_and_never_in_the_head():
    zero = {"adapter": True, **SST2, "metrics": {"exact": 0, "chrf": 7}}
    other = {"adapter": True, "file": "b", "answers": 9, "metrics": {"exact": 0.5}}
    base = {"adapter": False, **SST2, "metrics": {"exact": 0}}
    assert told_with_the_base([zero, other]) == [other]
    rows = told_with_the_base([zero, other, base])
    assert rows == [zero, other, base]
    results = ModelCard(card({**FACTS, "evaluations": rows}, "merged")).data.eval_results
    assert [(r.metric_name, r.metric_value) for r in results] == [("chrf", 7), ("exact", 0.5)]


@pytest.mark.parametrize("model", ["/home/ada/models/tiny", "models/tiny", "./tiny", "C:\\m\\tiny"])
def test_a_local_base_is_named_but_no_path_is_shown(model, tmp_path, monkeypatch):
    (tmp_path / "models" / "tiny").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    text = card({**FACTS, "model": model}, "adapter")
    assert ModelCard(text).data.base_model is None
    assert "`tiny`, a model in a local folder" in text and "/home/ada" not in text


# The text


@pytest.mark.parametrize("kind", FORMATS)
def test_the_card_says_everything_a_reader_needs(kind):
    text = card(FACTS, kind, "ada/model")
    for part in [
        FACTS["template"]["example"],
        *["## Prompt template", "## How to use it", "## Training", "## Data", "## Evaluation"],
        *["| lora_r | 16 |", "| learning_rate | 0.0002 |", "| train_loss | 0.123456 |"],
        "| peak_memory | 2.1 GB |",
        *["| weight_decay | 0.5 |", "| read | 1,200 |", "| trained | 1,000 |"],
        *["| dropped: no answer | 60 |", "| skipped: too short | 40 |", "| cut to fit | 3 |"],
        *["| kept for validation | 100 |", "95 % at most 69, longest 1,077"],
        *["| `Positive` | 600 |", "a\\|b", "| sst2 | test | 180 | this model | 0.9 |"],
        *["| sst2 | test | 180 | the base alone | 0 |", "| peft | 0.21.2 |", "ada/model"],
        *[
            "98.4 % of the adapter's effect is kept",
            "464 of 465 greedy tokens are the same",
            "0.0222",
            "8 prompts",
            "`my.json`, 1,000 examples",
            "4bit), 8B parameters in 4 bits in training\n- Licence",
        ],
    ]:
        assert part in text
    assert "/home/ada" not in text


def test_options_at_their_default_and_places_are_not_told():
    options = {**FACTS["options"], "output_dir": "/home/ada/run", "plugin": ["/home/ada/p.py"]}
    text = card({**FACTS, "options": options}, "adapter")
    assert "| warmup_steps |" not in text and "ada/run" not in text and "p.py" not in text


def test_an_export_that_did_not_pass_says_so():
    found = {**FACTS["verify"], "passed": False, "problems": ["its logits differ"]}
    assert "**It did not pass:** its logits differ" in card({**FACTS, "verify": found}, "merged")


def test_an_unchecked_export_claims_no_check():
    text = card({**FACTS, "verify": {"passed": None}}, "merged")
    assert "How the export was checked" not in text


def test_without_a_picture_the_curve_is_a_short_table():
    curve = [{"step": step, "loss": 1 / step} for step in range(1, 101)]
    text = card({**FACTS, "curve": curve}, "adapter")
    assert "| step | loss |" in text and "| 100 | 0.01 |" in text and text.count("| 0.") < 15
    assert "![" not in text and "![Loss by step](training.png)" in card(
        {**FACTS, "curve": curve, "picture": "training.png"}, "adapter"
    )


def test_an_example_with_code_fences_stays_inside_its_own():
    assert "````text\n" + FACTS["template"]["example"] + "\n````" in card(FACTS, "adapter")


def test_values_cannot_break_a_table():
    text = card({**FACTS, "options": {**FACTS["options"], "system": "a|b\nc"}}, "adapter")
    assert "| system | a\\|b c |" in text


# How to use it


@pytest.mark.parametrize("kind", ["adapter", "merged", "merged-4bit"])
@pytest.mark.parametrize("vocab_size", [0, 2050])
def test_the_code_in_the_card_is_python(kind, vocab_size):
    text = card({**FACTS, "vocab_size": vocab_size}, kind, "a/b")
    found = blocks(text.split("## How to use it")[1].split("\n## ")[0], "python")
    assert len(found) == 2 and all(ast.parse(block) for block in found)


@pytest.mark.parametrize(
    ("kind", "there", "not_there"),
    [
        ("adapter", ["--enable-lora --max-lora-rank 16", "model=ada/model", "--ollama model-o"],
         ["hf.co/", "ollama run"]),
        ("merged", ["vllm serve ada/model\n", "ollama create model -f model/Modelfile"],
         ["--enable-lora", "hf.co/ada"]),
        ("merged-4bit", ["vllm serve ada/model\n", "load_in_4bit=True"], ["ollama", "infer.py"]),
        ("gguf", ["ollama run hf.co/ada/model:Q8_0\n", "ollama run hf.co/ada/model:Q4_K_M\n",
         "--hf-repo ada/model --hf-file"], ["vllm serve", "FastLanguageModel"]),
        ("ollama", ["ollama create model -f model/Modelfile"], ["vllm serve", "hf.co/ada"]),
    ],
)  # fmt: skip
def test_each_kind_is_used_by_the_tools_that_load_it(kind, there, not_there):
    files = ["tiny-Q8_0.gguf", "tiny-q4_k_m.gguf"]
    facts = {**FACTS, "gguf": files if kind in ("gguf", "ollama") else [], "modelfile": True}
    text = "".join(blocks(card(facts, kind, "ada/model"), r"(?:sh|python)")) + "\n"
    for part in there:
        assert part in text
    for part in not_there:
        assert part not in text


def test_vllm_gets_room_for_the_rank():
    options = {**FACTS["options"], "lora_r": 48}
    assert "--max-lora-rank 64" in card({**FACTS, "options": options}, "adapter")


def test_an_adapter_with_added_tokens_is_not_offered_to_vllm():
    assert "--enable-lora" not in card({**FACTS, "vocab_size": 2050}, "adapter")


# What a run gives to it


@pytest.fixture(scope="module")
def exported(three_steps, workplace, tmp_path_factory):
    """An adapter and a merged model of a run that was asked its test rows."""
    folder = tmp_path_factory.mktemp("cards")
    run_script(
        "infer.py", "--run", "three", "--file", "sentiment", "--max-new-tokens", 2, cwd=workplace
    )
    run_script(
        "export.py", "--run", "three", "--adapter", folder / "ad", "--merged", folder / "me",
        cwd=workplace,
    )  # fmt: skip
    return folder


def test_the_transformers_code_runs_as_it_stands(exported):
    code = ""
    for kind in ("me", "ad"):  # in this order: the second imports peft
        text = (exported / kind / "README.md").read_text(encoding="utf-8")
        code += blocks(text, "python")[0].replace("path/to/this/folder", str(exported / kind))
    code = code.replace("max_new_tokens=256", "max_new_tokens=4")
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("kind", ["ad", "me"])
def test_the_card_of_an_export_opens_with_name_and_curve_and_has_licence_and_check(exported, kind):
    text = (exported / kind / "README.md").read_text(encoding="utf-8")
    assert ModelCard(text).data.license == "apache-2.0"
    assert "\n# three\n" in text and text.index("training.png") < text.index("## How to use it")
    assert (exported / kind / "training.png").read_bytes().startswith(b"\x89PNG")
    assert "## Evaluation" not in text  # nothing was right, and the base was not asked
    assert "How the export was checked" in text


def test_no_place_of_the_machine_is_in_a_merged_export(exported, workplace):
    files = [path for path in (exported / "me").iterdir() if path.suffix != ".safetensors"]
    assert len(files) > 6
    for path in files:
        data = path.read_bytes()
        assert str(workplace).encode() not in data and str(TINY.parent).encode() not in data, path


def test_only_the_last_evaluation_of_a_file_counts(tmp_path):
    rows = [("a", True, 1), ("b", True, 2), ("a", True, 3), ("a", False, 4)]
    names = "file", "adapter", "answers"
    rows = [dict(zip(names, row, strict=True)) | {"metrics": {}} for row in rows]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "evaluations.jsonl").write_text(lines, encoding="utf-8")
    assert [row["answers"] for row in evaluations_in(tmp_path)] == [3, 2, 4]


def test_a_row_is_shown_of_public_data_and_of_nobodys_file(exported, three_steps):
    text = (exported / "me" / "README.md").read_text(encoding="utf-8")
    sample = sample_of(["sentiment"], three_steps)
    assert quoted(sample["question"]) in text and sample["answer"] in text
    assert sample_of(["sentiment", "ada/rows"], three_steps) == sample
    for dataset in ("my.json", "/home/ada/my.json", "-", "my.py"):
        assert sample_of(["sentiment", dataset], three_steps) is None
    assert sample_of([], three_steps) is None


def test_a_run_whose_picture_is_none_has_a_table(three_steps, tmp_path):
    copied = shutil.copytree(three_steps, tmp_path / "run")
    (copied / "loss.png").unlink()
    (tmp_path / "secret").write_text("a key")
    (copied / "loss.png").symlink_to(tmp_path / "secret")
    facts = facts_of(runs.load(copied)[1], copied, tmp_path)
    assert facts["picture"] is None and not (tmp_path / "training.png").exists()
    assert "| step | loss |" in card(facts, "adapter")


def test_a_licence_on_the_hub_is_asked_for_only_when_allowed(hub):
    hub.add_repo("ada/base")
    hub.repos["ada/base"]["card"] = {"license": "other", "license_name": "x", "language": "en"}
    assert license_of("ada/base", ask_hub=False) == {} and not hub.requests
    assert license_of("ada/base", ask_hub=True) == {"license": "other", "license_name": "x"}


@pytest.mark.parametrize("status", [404, 500, 0])
def test_a_hub_that_does_not_tell_the_licence_stops_nothing(hub, status):
    hub.fail("GET", "/api/models/", status)
    assert license_of("ada/base", ask_hub=True) == {}


def test_what_is_published_of_a_run_names_no_place(three_steps):
    _, run = runs.load(three_steps)
    home = "/home/ada/secret"
    options = run.options | {
        "dataset": f"{home}/my.json", "dataset_path": f"{home}/copy", "template": f"{home}/t.yaml",
        "val_dataset": f"{home}/val.json", "plugin": [f"{home}/p.py"], "output_dir": f"{home}/run",
        "settings": [["a", f"{home}/x"]],
        "push_to": "ada/secret",
    }  # fmt: skip
    data = run.data | {
        "source": f"{home}/my.json", "examples": {"no answer": f"{home}/my.json:7"},
        "first_truncated": f"{home}/my.json:9", "dropped": {"no answer": 60},
    }  # fmt: skip
    published = runs.without_paths(runs.Run(**vars(run) | {"options": options, "data": data}))
    assert "secret" not in json.dumps(published)
    assert published["data"]["dropped"] == {"no answer": 60}
    assert published["options"]["dataset"] == ["my.json"]


def test_a_published_record_is_a_run_again(three_steps, tmp_path):
    shutil.copytree(three_steps, tmp_path / "run")
    _, run = runs.load(tmp_path / "run")
    write_json(tmp_path / "run" / "run.json", runs.without_paths(run))
    assert runs.load(Path(tmp_path / "run"))[1].the_config().datasets == ("sentiment",)


def test_figures_of_labels_have_a_table_intervals_and_a_picture():
    report = {"a|b": {"precision": 1.0, "recall": 0.5, "f1": 2 / 3, "rows": 2}}
    report["none"] = dict.fromkeys(report["a|b"], 0)  # a label that was not expected
    scored = {"adapter": True, **SST2, "metrics": {"exact": 0.5, "accuracy": 0.5}}
    scored |= {"intervals": {"exact": [0.25, 0.75], "accuracy": [0.25, 0.75]}, "labels": report}
    text = card({**FACTS, "evaluations": [scored], "confusion": "confusion.png"}, "adapter")
    assert "| 0.5 (0.250 to 0.750) | 0.5 (0.250 to 0.750) |" in text
    assert "| precision | recall | F1 |\n|---|---|---|---|---|\n| a\\|b | 2 | 1.00 |" in text
    assert "| 1.00 | 0.50 | 0.67 |\n\n" in text
    assert "](confusion.png)" in text
    types = {result.metric_type for result in ModelCard(text).data.eval_results}
    assert types == {"exact_match", "accuracy"}
