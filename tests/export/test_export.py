"""export.py, run for real: adapters and merged checkpoints, and a push over the Hub's protocol."""

import json
import shutil

import pytest
from click.testing import CliRunner
from conftest import TINY, refused, run_script
from hub_server import hub_fixture  # noqa: F401  the fixture `hub`

import export
from threetoe.export.export import find_adapter
from threetoe.export.gguf.gguf import model_name
from threetoe.options.export import ExportConfig
from threetoe.prompt.ollama import modelfile
from threetoe.run import record as runs


@pytest.fixture(scope="session")
def exported(demo, workplace, tmp_path_factory):
    """A folder with the demo's adapter and merged checkpoint, exported in one call."""
    folder = tmp_path_factory.mktemp("exported")
    run_script(
        "export.py", "--run", "demo", "--adapter", folder / "an-adapter",
        "--merged", folder / "merged", cwd=workplace,
    )  # fmt: skip
    return folder


def test_the_merged_checkpoint_answers_in_plain_transformers_token_for_token(exported, workplace):
    """Loaded without unsloth, peft or our code, and asked with its own chat template."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    run_script(
        "infer.py", "--run", "demo", "--file", "sentiment", "--max-new-tokens", 12,
        "--batch-size", 1, "--output", exported / "answers.jsonl", cwd=workplace,
    )  # fmt: skip
    path = exported / "answers.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    tokenizer = AutoTokenizer.from_pretrained(exported / "merged")
    model = AutoModelForCausalLM.from_pretrained(exported / "merged", dtype="auto")
    for row in rows:
        message = {"role": "user", "content": row["instruction"], "input": row["input"]}
        asked = tokenizer.apply_chat_template(
            [message], add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        output = model.generate(**asked, max_new_tokens=12, do_sample=False)
        answer = tokenizer.decode(output[0, asked["input_ids"].shape[1] :])
        assert answer == row["answer"] + tokenizer.eos_token


def test_exports_can_be_asked_like_runs(exported, workplace):
    for name in ("an-adapter", "merged"):
        done = run_script(
            "infer.py", "Classify the sentiment of the text.", "--run", exported / name,
            "--input", "The waiter was rude to us.", cwd=workplace,
        )  # fmt: skip
        assert done.stdout == "Negative\n"


def test_a_merged_model_has_no_base_apart_to_ask(exported, workplace):
    flags = ["--run", exported / "merged", "--no-adapter"]
    done = run_script("infer.py", "Hi", *flags, cwd=workplace, code=2)
    assert "--no-adapter" in done.stderr and len(done.stderr.splitlines()) == 1


def test_the_merged_config_is_16_bit_and_carries_the_stop_ids(exported, demo):
    _, run = runs.load(demo[0])
    config = json.loads((exported / "merged" / "config.json").read_text())
    assert config["dtype"] == "bfloat16"
    assert "quantization_config" not in config
    for values in (
        config,
        json.loads((exported / "merged" / "generation_config.json").read_text()),
    ):
        assert values["eos_token_id"] == run.stop_ids


def test_the_merged_folder_has_a_modelfile_of_the_runs_template(exported, demo):
    _, run = runs.load(demo[0])
    written = (exported / "merged" / "Modelfile").read_text(encoding="utf-8")
    assert written == modelfile(run.the_template(), run.the_marks())


def test_the_base_is_not_touched_and_the_record_names_no_place(exported, workplace):
    assert not list(TINY.glob("*.partial"))
    text = (exported / "an-adapter" / "run.json").read_text()
    assert str(workplace) not in text
    assert not list(exported.glob("*.partial"))


def test_an_existing_folder_is_refused_and_nothing_is_written(exported, workplace, tmp_path):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").write_text("kept")
    done = run_script(
        "export.py", "--run", "demo", "--merged", tmp_path / "taken", "--push", "not-an-id",
        "--format", "zip=x", cwd=workplace, code=2,
    )  # fmt: skip
    for part in ("taken exists already", "user/model", "No export format named 'zip'"):
        assert part in done.stderr
    assert [path.name for path in (tmp_path / "taken").iterdir()] == ["file"]


def test_an_export_that_fails_leaves_nothing_behind(three_steps, workplace):
    path = three_steps / "adapter_model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1000])
    try:
        done = run_script(
            "export.py", "--run", "three", "--merged", "away/merged", cwd=workplace, code=2
        )
    finally:
        path.write_bytes(whole)
    assert "Traceback" not in done.stderr
    assert not (workplace / "away").exists()


def test_a_push_arrives_with_card_tokenizer_and_adapter(three_steps, workplace, hub):
    done = run_script("export.py", "--run", "three", "--push", "ada/sentiment", cwd=workplace)
    assert "pushed and checked" in done.stderr
    files = hub.files("ada/sentiment")
    assert {"README.md", "adapter_model.safetensors", "tokenizer.json", "run.json"} <= set(files)
    assert (
        files["adapter_model.safetensors"]
        == (three_steps / "adapter_model.safetensors").read_bytes()
    )
    assert b"library_name: peft" in files["README.md"]


def test_a_merged_export_is_what_is_pushed_when_both_are_asked_for(three_steps, workplace, hub):
    run_script(
        "export.py", "--run", "three", "--merged", "away/merged", "--push", "ada/merged",
        cwd=workplace,
    )  # fmt: skip
    files = hub.files("ada/merged")
    assert "model.safetensors" in files and "adapter_model.safetensors" not in files
    assert b"library_name: transformers" in files["README.md"]


@pytest.mark.parametrize("flag", ["--adapter", "--merged"])
def test_a_run_whose_adapter_is_gone_is_refused(three_steps, workplace, tmp_path, flag):
    path = three_steps / "adapter_model.safetensors"
    path.rename(tmp_path / "away")
    try:
        export = ["export.py", "--run", "three", flag, tmp_path / "out"]
        done = run_script(*export, cwd=workplace, code=2)
        asked = run_script("infer.py", "Hi", "--run", "three", cwd=workplace, code=2)
    finally:
        (tmp_path / "away").rename(path)
    for printed in (done, asked):
        assert "No such file: " in printed.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ("--adapter a --dtype float16", "--dtype does nothing without --merged or --merged-4bit or "
         "--gguf or --ollama or --format."),
        ("--merged m --private", "--private does nothing without --push."),
        ("--merged m --revision v2 --create-pr", "--create-pr does nothing without --push."),
        ("--merged m --gguf-dir g", "--gguf-dir does nothing without --gguf."),
        ("--merged m --adapter m", "--adapter m and --merged m are one folder; name two."),
        ("--merged m --adapter ./m", "--adapter m and --merged m are one folder; name two."),
        ("--merged m/n --adapter m", "one is inside the other; name two apart."),
        ("--merged m --max-shard-size 5TB", "'5TB' is not a valid size."),
        ("--merged m --max-shard-size 0MB", "is not in the range"),
    ],
)  # fmt: skip
def test_options_that_would_do_nothing_or_collide_are_refused(three_steps, here, options, line):
    assert any(line in said for said in refused(export, "--run", three_steps, *options.split()))


def test_an_export_into_the_run_or_the_base_is_refused(three_steps, here):
    inside = refused(export, "--run", three_steps, "--merged", three_steps / "m")
    assert "is inside the run's folder" in inside[0]
    inside = refused(export, "--run", three_steps, "--merged", TINY / "m")
    assert "is inside the base's folder" in inside[0]


@pytest.fixture
def moved(three_steps, here):
    """A run whose base was in a folder that is not there any more."""
    shutil.copytree(three_steps, here / "moved")
    record = json.loads((here / "moved" / "run.json").read_text(encoding="utf-8"))
    record["options"]["model"] = "/old/path"
    (here / "moved" / "run.json").write_text(json.dumps(record), encoding="utf-8")
    return here / "moved"


@pytest.mark.parametrize(
    "asked",
    ["--adapter a", "--merged m", "--merged-4bit m", "--gguf q8_0", "--ollama o", "--push a/b"],
)
def test_a_base_that_has_moved_is_named_before_any_format_is_begun(moved, monkeypatch, asked):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert refused(export, "--run", moved, *asked.split())[0] == (
        f"The base of --run {moved} was in /old/path, where it is not any more: name its folder, "
        "or a Hub id, with --base."
    )


def test_an_adapter_whose_base_has_moved_names_the_one_that_is_given(moved, here):
    call = ["--run", str(moved), "--adapter", "a", "--base", "tiny"]
    done = CliRunner().invoke(export.main, call)
    assert done.exit_code == 0, done.output
    named = json.loads((here / "a" / "adapter_config.json").read_text(encoding="utf-8"))
    assert named["base_model_name_or_path"] == str(TINY)


def test_an_export_is_named_after_the_runs_folder_as_it_is_called_now(three_steps, here):
    shutil.copytree(three_steps, here / "renamed")
    _, run = find_adapter(ExportConfig(run=here / "renamed"), None)
    assert model_name(run) == "renamed"
    assert str(here) not in json.dumps(runs.without_paths(run))


def test_shards_may_be_given_in_megabytes(three_steps, here):
    done = CliRunner().invoke(
        export.main,
        ["--run", str(three_steps), "--merged", "m", "--max-shard-size", "2MB", "--no-verify"],
    )
    assert done.exit_code == 0, done.output
    assert max(path.stat().st_size for path in here.glob("m/*.safetensors")) < 2_010_000
    assert len(list(here.glob("m/*.safetensors"))) > 3
