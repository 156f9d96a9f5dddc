"""Folders that other tools made, and runs that are asked with another template than their own."""

import json
import shutil
from dataclasses import replace

import pytest
from conftest import TINY, refused, run_script
from hub_server import hub_fixture  # noqa: F401  the fixture `hub`
from tokenizers_made import KINDS

import export
import infer
from threetoe.backend import model as backend
from threetoe.errors import UserError
from threetoe.infer import infer as flow
from threetoe.machine import files as catalog
from threetoe.options.infer import InferConfig
from threetoe.prompt.encode import prompt_ids
from threetoe.prompt.template_file import read_template
from threetoe.prompt.tokenizer import marks_of, with_cuts
from threetoe.run import contract
from threetoe.run import record as runs

TEMPLATES = {name: read_template(path) for name, path in catalog.named_files("templates").items()}
QUESTION = {"role": "user", "content": "Classify the sentiment of the text."}

CUT = "the answer was cut at --max-new-tokens {}\n"


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    """A LoRA adapter as plain PEFT saves it, without tokenizer or record."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(3407)
    base = AutoModelForCausalLM.from_pretrained(TINY)
    config = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"])
    model = get_peft_model(base, config)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    folder = tmp_path_factory.mktemp("made") / "elsewhere"
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def exported(adapter):
    """The adapter exported by us, as an adapter and merged."""
    run_script(
        "export.py", "--run", "elsewhere", "--template", "alpaca", "--adapter", "adapter",
        "--merged", "merged", cwd=adapter.parent,
    )  # fmt: skip
    return adapter.parent


def test_an_adapter_on_the_hub_is_asked_by_its_name(adapter, hub, tmp_path):
    files = {path.name: path.read_bytes() for path in adapter.iterdir()}
    hub.add_repo("ada/elsewhere", files=files)
    asked = ["Hi", "--template", "alpaca", "--max-new-tokens", 4, "--run"]
    there = run_script("infer.py", *asked, "ada/elsewhere", cwd=tmp_path)
    here = run_script("infer.py", *asked, adapter, cwd=tmp_path)
    assert (there.stdout, there.stderr) == (here.stdout, here.stderr)


def test_a_name_that_the_hub_does_not_know_is_one_line(hub, here):
    (line,) = refused(infer, "Hi", "--run", "ada/nothing", "--template", "alpaca")
    assert line.startswith("--run ada/nothing: there is no such folder, and the Hub does not give ")
    (here / "runs").mkdir()
    (line,) = refused(infer, "Hi", "--run", "runs/nothing", "--template", "alpaca")
    assert line == "--run runs/nothing is not a run folder: it has no run.json."


@pytest.mark.parametrize("asked", [None, True, False])
def test_an_adapter_and_a_base_are_asked_in_the_bits_that_are_named(asked, adapter):
    for folder in (adapter, TINY):
        config = InferConfig(prompt="Hi", run=folder, template="alpaca", load_in_4bit=asked)
        _, model, *_ = flow.load(flow.plan_inference(config))
        kinds = {type(module).__name__ for module in model.modules()}
        assert ("Linear4bit" in kinds) is bool(asked)


def test_bits_that_a_base_does_not_have_are_one_line(adapter, here):
    base = shutil.copytree(TINY, here / "small")
    path = base / "config.json"
    values = json.loads(path.read_text(encoding="utf-8")) | {"quantization_config": {}}
    path.write_text(json.dumps(values), encoding="utf-8")
    asked = ["--model", base, "--template", "alpaca", "--no-load-in-4bit"]
    (line,) = refused(infer, "Hi", "--run", adapter, *asked)
    assert line == f"--no-load-in-4bit: {base} is stored in 4 bits."


def prompt(template, tokenizer):
    return prompt_ids(template.prompt([QUESTION], marks_of(tokenizer)), tokenizer)


def test_a_foreign_adapter_answers_as_it_does_in_plain_peft(adapter, tmp_path):
    import peft  # noqa: F401  transformers needs it to load an adapter
    from transformers import AutoModelForCausalLM

    flags = ["--run", adapter, "--template", "alpaca", "--max-new-tokens", 12]
    done = run_script("infer.py", QUESTION["content"], *flags, cwd=tmp_path)
    tokenizer = backend.load_tokenizer(TINY)
    asked = tokenizer.pad(
        {"input_ids": [prompt(TEMPLATES["alpaca"], tokenizer)]}, return_tensors="pt"
    )
    model = AutoModelForCausalLM.from_pretrained(adapter, dtype="auto")
    output = model.generate(**asked, max_new_tokens=12, do_sample=False)
    answer = tokenizer.decode(output[0, asked["input_ids"].shape[1] :], skip_special_tokens=True)
    assert (done.stdout, done.stderr) == (answer + "\n", CUT.format(12))


def test_a_plain_checkpoint_is_asked_like_a_run_once_its_template_is_named(tmp_path):
    flags = ["--run", TINY, "--template", "human", "--max-new-tokens", 2]
    assert run_script("infer.py", "Hi", *flags, cwd=tmp_path).stderr == CUT.format(2)


def test_without_a_template_a_foreign_folder_is_refused(adapter, here):
    (line,) = refused(infer, "Hi", "--run", adapter)
    assert line == (
        f"--run {adapter} has no run.json, as other tools leave it: name the template that it was "
        "trained with, such as --template alpaca."
    )
    assert refused(export, "--run", adapter, "--merged", "out") == [line]


def test_a_wrong_template_for_a_foreign_folder_is_one_line(adapter, here):
    (line,) = refused(infer, "Hi", "--run", adapter, "--template", "alpca")
    assert line.startswith("No template named 'alpca'. Did you mean 'alpaca'?")


@pytest.mark.parametrize("base", ["/old/path", None])
def test_a_foreign_adapter_without_its_base_says_which_flag_names_it(base, adapter, here):
    shutil.copytree(adapter, "lost")
    path = here / "lost" / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**config, "base_model_name_or_path": base}), encoding="utf-8")
    flags = ["--run", "lost", "--template", "alpaca"]
    for script, more, flag in ((infer, ["Hi"], "--model"), (export, ["--merged", "o"], "--base")):
        (line,) = refused(script, *flags, *more)
        assert line.endswith(f"{flag}.")
    run_script("export.py", *flags, "--merged", "out", "--base", TINY, cwd=here)


def test_the_card_of_a_foreign_adapter_says_what_is_known_and_no_more(exported):
    for name in ("adapter", "merged"):
        card = (exported / name / "README.md").read_text(encoding="utf-8")
        assert "- Trained on: unknown\n" in card
        assert "Prompt template: `alpaca`" in card
        for heading in ("## Data", "## Training\n", "## Evaluation", "sentiment"):
            assert heading not in card


@pytest.mark.parametrize("name", ["adapter", "merged"])
def test_the_export_of_a_foreign_adapter_carries_prompt_and_stop_ids(name, exported):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(exported / name)
    ids = tokenizer.apply_chat_template([QUESTION], add_generation_prompt=True)["input_ids"]
    assert ids == prompt(TEMPLATES["alpaca"], backend.load_tokenizer(TINY))
    config = json.loads((exported / name / "generation_config.json").read_text())
    _, run = runs.load(exported / name)
    assert run.data == {}
    assert config["eos_token_id"] == run.stop_ids == [tokenizer.eos_token_id]
    assert "stop_strings" not in config


def test_the_export_of_a_foreign_adapter_needs_no_template_any_more(exported):
    asked = ["--run", "adapter", "--max-new-tokens", 2]
    assert run_script("infer.py", "Hi", *asked, cwd=exported).stderr == CUT.format(2)


def test_a_forced_template_is_the_exports_in_prompt_stop_ids_card_and_record(
    three_steps, workplace, tmp_path
):
    from transformers import AutoTokenizer

    flags = ["--run", "three", "--adapter", tmp_path / "out", "--template", "human"]
    done = run_script("export.py", *flags, cwd=workplace, code=2)
    assert done.stderr.startswith("Error: --template human: this run was trained with alpaca; ")
    done = run_script("export.py", *flags, "--force-template", cwd=workplace)
    assert done.stderr.startswith("--force-template: human is used, but the run was trained with")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    ids = tokenizer.apply_chat_template([QUESTION], add_generation_prompt=True)["input_ids"]
    assert ids == prompt(TEMPLATES["human"], backend.load_tokenizer(TINY))
    _, run = runs.load(tmp_path / "out")
    assert run.the_template() == TEMPLATES["human"]
    assert run.options["template"] == "human"
    assert "Prompt template: `human`" in (tmp_path / "out" / "README.md").read_text("utf-8")
    weights = "adapter_model.safetensors"
    assert (tmp_path / "out" / weights).read_bytes() == (three_steps / weights).read_bytes()


def settled(run, name, tokenizer, **options):
    config = InferConfig(template=name, **options)
    return contract.settled("a run", run, name and TEMPLATES[name], tokenizer, config)


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request):
    return with_cuts(KINDS[request.param]())


@pytest.mark.parametrize("trained", TEMPLATES)
def test_every_other_template_is_refused_and_can_be_forced(trained, tokenizer, capsys):
    unknown = runs.foreign(TEMPLATES[trained], "tiny", False)
    run = settled(unknown, trained, tokenizer)
    assert settled(run, trained, tokenizer) is settled(run, None, tokenizer) is run
    for name in TEMPLATES.keys() - {trained}:
        with pytest.raises(UserError) as raised:
            settled(run, name, tokenizer)
        assert f"--template {name}: this run was trained with {trained}; " in str(raised.value)
        forced = settled(run, name, tokenizer, force_template=True)
        assert forced.the_template() == TEMPLATES[name]
        assert capsys.readouterr().err.startswith(f"--force-template: {name} is used")


def test_a_template_with_the_same_prompts_and_other_stop_strings_is_welcome(tokenizer, capsys):
    run = settled(runs.foreign(TEMPLATES["alpaca"], "tiny", False), "alpaca", tokenizer)
    mine = replace(TEMPLATES["alpaca"], name="mine", stop=("\nStop",))
    config = InferConfig(template="mine.yaml")
    used = contract.settled("a run", run, mine, tokenizer, config).the_template()
    assert (used.name, used.stop) == ("mine", ("\nStop",))
    assert capsys.readouterr().err == ""


def test_every_text_of_a_template_is_compared(tokenizer):
    marks = marks_of(tokenizer)
    template = TEMPLATES["llama2"]
    assert contract.first_difference(template, template, marks, tokenizer) is None
    for role, text in template.roles.items():
        for place in (0, text.index("{content}"), len(text)):
            roles = {**template.roles, role: text[:place] + "X" + text[place:]}
            assert contract.first_difference(
                template, replace(template, roles=roles), marks, tokenizer
            )
    for field in ("system", "system_with_input"):
        other = replace(template, **{field: "X"})
        assert contract.first_difference(template, other, marks, tokenizer)


def test_the_chat_template_of_a_foreign_tokenizer_can_be_the_prompt():
    tokenizer = with_cuts(KINDS["qwen"]())
    own = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    tokenizer.chat_template = (
        own + "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    theirs = tokenizer.apply_chat_template([QUESTION], add_generation_prompt=True)["input_ids"]
    config = InferConfig(template="from-tokenizer")
    run = contract.settled("a", runs.foreign(None, "a/b", False), None, tokenizer, config)
    assert prompt(run.the_template(), tokenizer) == theirs
    assert run.stop_ids == [tokenizer.convert_tokens_to_ids("<|im_end|>")]
    with pytest.raises(UserError, match="was trained with from-tokenizer; the prompts differ"):
        settled(run, "alpaca", tokenizer)


def test_a_tokenizer_that_was_swapped_is_refused():
    made = {name: with_cuts(make()) for name, make in KINDS.items()}
    run = settled(runs.foreign(TEMPLATES["human"], "tiny", False), "human", made["llama3"])
    with pytest.raises(UserError, match="puts no BOS in front of a text, and the run was trained"):
        settled(run, None, made["qwen"])
    marks = {**run.marks, "bos": ""}
    with pytest.raises(UserError, match="answers end with the ids"):
        settled(replace(run, marks=marks), None, made["qwen"])
