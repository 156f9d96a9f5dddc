"""Flags and --config YAML become one configuration; what is wrong with them is said in lines."""

import json
import os
import pty
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from conftest import ROOT, refused
from options_given import given

import infer
import train
from threetoe.options import foreign
from threetoe.options.command import command
from threetoe.options.export import ExportConfig
from threetoe.options.infer import InferConfig
from threetoe.options.train import TrainConfig, options_of


def test_without_arguments_every_option_has_its_default():
    assert given() == TrainConfig()


@pytest.mark.parametrize(
    ("text", "option", "value"),
    [
        ("learning_rate: 1e-5", "learning_rate", 1e-5),
        ("learning-rate: 0.001", "learning_rate", 0.001),
        ("load_in_4bit: no", "load_in_4bit", False),
        ("load_in_4bit: off", "load_in_4bit", False),
        ("train_on_inputs: yes", "train_on_inputs", True),
        ("use_gradient_checkpointing: true", "use_gradient_checkpointing", "true"),
        ("num_train_epochs: 3", "num_train_epochs", 3.0),
        ("dataset: 2024", "dataset", ("2024",)),
        ("dataset: [a.json, b:0.3]", "dataset", ("a.json", "b:0.3")),
        ("target_modules: [q_proj, v_proj]", "target_modules", ("q_proj", "v_proj")),
        ("target_modules: q_proj, v_proj", "target_modules", ("q_proj", "v_proj")),
        ("plugin: one.py", "plugin", ("one.py",)),
        ("plugins:\n- one.py\n- two.py", "plugin", ("one.py", "two.py")),
        ("map: instruction=question", "map", (("instruction", "question"),)),
        ("map:\n  output: reply", "map", (("output", "reply"),)),
        ("map: [[output, a=b]]", "map", (("output", "a=b"),)),
        ("seed:", "seed", 3407),
        ("\ufefflora_r: 8", "lora_r", 8),
        ("{}", "lora_r", 16),
        ("", "lora_r", 16),
    ],
)
def test_a_yaml_value_is_read_as_its_flag_would_be(text, option, value, here):
    assert getattr(given(yaml=text), option) == value
    assert given(yaml=text).problems == ()


def test_flags_win_over_yaml(here):
    config = given("--lora-r", "4", "--plugin", "b.py", yaml="lora_r: 8\nplugin: a.py\nseed: 1")
    assert (config.lora_r, config.plugin, config.seed) == (4, ("b.py",), 1)


def test_a_switch_that_yaml_turns_off_can_be_turned_on_again(here):
    assert given("--load-in-4bit", yaml="load_in_4bit: no").load_in_4bit is True


def test_the_options_of_a_run_json_come_back_as_they_were(here):
    config = TrainConfig(
        dataset=("a.json",), map=(("output", "reply"),), learning_rate=1e-5, max_steps=7,
        target_modules=("q_proj",), load_in_4bit=False, labels=(("0", "No"),),
    )  # fmt: skip
    named = replace(config, plugin=("one.py",), settings=(("limit", "2"),))
    record = {"options": options_of(named), "threetoe": "0.1", "plugins": [{"name": "one.py"}]}
    plugins = (Path("options.yaml"), record["plugins"])  # for the hooks, which know their hashes
    assert given(yaml=json.dumps(record, indent=1)) == replace(config, record=plugins)
    flags = ["--plugin", "two.py"]
    assert given(*flags, yaml=json.dumps(record)) == replace(config, plugin=("two.py",))


def test_code_that_a_run_json_names_is_not_taken_unless_a_flag_says_so(here):
    options = {"dataset": "evil.py:rows", "val_dataset": "evil.py", "lora_r": 8}
    text = json.dumps({"options": options, "threetoe": "0.1"})
    config = given("--val-dataset", "mine.py", yaml=text)
    assert (config.dataset, config.val_dataset, config.lora_r) == (("sentiment",), "mine.py", 8)
    assert config.problems == (
        "options.yaml names code, evil.py:rows, which is not run unless you say so: "
        "--dataset evil.py:rows.",
    )
    assert given(yaml="dataset: evil.py:rows").dataset == ("evil.py:rows",)  # nobody's record


@pytest.mark.parametrize("text", ["{}", "[]", '{"options": [], "threetoe": "9"}', "[" * 99999])
def test_a_run_json_that_is_none_is_one_line(text, here):
    Path("run.json").write_text(text)
    (line,) = given("--config", "run.json").problems
    assert line.startswith("Invalid value for '--config': run.json")


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        (["--lora-r=0"], "Invalid value for '--lora-r': 0 is not in the range 1<=x<=65536."),
        (["--lora-r", "9" * 20], "Invalid value for '--lora-r': 99999999999999999999 is not in"),
        (["--lora-alpha", "9" * 400], "Invalid value for '--lora-alpha': 999"),
        (["--seed", "9" * 5000], "Invalid value for '--seed': '999"),
        (["--num-train-epochs", "1e308"], "Invalid value for '--num-train-epochs': 1e+308 is not"),
        (["--val-size", "inf"], "Invalid value for '--val-size': inf is neither a share"),
        (["--val-size", "1e308"], "Invalid value for '--val-size': 1e308 is neither a share"),
        (["--labels", "[" * 100_000], "Invalid value for '--labels': [[["),
        (["--dataset", "caf\udce9.json"], "--dataset: 'caf\\udce9.json' holds a byte that is not"),
        (["--model", "~nobody-here/base"], "Invalid value for '--model': ~nobody-here/base: there"),
        (["--lora-r", "8", "--lora_r=4"], "--lora-r is given twice, 8 and 4; it takes one value."),
        (["--lora-r", "many"], "Invalid value for '--lora-r': 'many' is not a valid whole number."),
        (["--lora-r", "1.5"], "Invalid value for '--lora-r': '1.5' is not a valid whole number."),
        (["--lora-dropout", "1"], "Invalid value for '--lora-dropout': 1.0 is not in the range"),
        (["--learning-rate", "nan"], "Invalid value for '--learning-rate': nan is not a finite"),
        (["--learning-rate", "inf"], "Invalid value for '--learning-rate': inf is not a finite"),
        (["--seed", "-1"], "Invalid value for '--seed': -1 is not in the range 0<=x<=4294967295."),
        (["--seed", "4294967296"], "Invalid value for '--seed': 4294967296 is not in the range"),
        (["--optim", "adam"], "Invalid value for '--optim': 'adam' is not one of 'adamw_torch'"),
        (["--target-modules", ","], "Invalid value for '--target-modules': it names nothing."),
        (["--map", "question"], "Invalid value for '--map': 'question' is not of the form NAME="),
        (["--lora-r"], "--lora-r needs a value."),
        (["--lora-r", "--dry-run"], "--lora-r needs a value."),
        (["--dry-run=yes"], "--dry-run takes no value; write --dry-run alone."),
        (["--lora_rr", "8"], "No such option: --lora-rr. Did you mean '--lora-r'?"),
        (["--lr", "1e-4"], "No such option: --lr. Here it is --learning-rate."),
        (["--packing"], "No such option: --packing. Here it is --batching-strategy packing."),
        (["--bf16", "True"], "No such option: --bf16. There is none: 16-bit numbers follow the"),
        (["--save-stups", "9"], "No such option: --save-stups."),
        (["--lerning-rate=1"], "No such option: --lerning-rate. Did you mean '--learning-rate'?"),
        (["--zzzzz"], "No such option: --zzzzz."),
        (["--zzzzz", "-1"], "No such option: --zzzzz."),
        (["-z"], "No such option: -z."),
        (["my.json"], "'my.json' is a file; name it with --dataset my.json."),
        (["yes"], "Unexpected argument 'yes'; quote a text with spaces."),
    ],
    ids=lambda case: " ".join(case) if isinstance(case, list) else "",
)
def test_a_wrong_argument_is_one_line(args, problem):
    (line,) = given(*args).problems
    assert line.startswith(problem)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("lora_r: 0", "options.yaml: Invalid value for '--lora-r': 0 is not in the range 1<=x"),
        (
            "lora_r: 8\nseed: 1\nlora_r: 4",
            "Invalid value for '--config': options.yaml:3: 'lora_r",
        ),
        ("lora_r: 8\nlora-r: 4", "options.yaml: 'lora-r' is given twice; keep one."),
        ("lr: 8", "options.yaml: no option named 'lr'. Here it is learning_rate."),
        (
            "packing: yes",
            "options.yaml: no option named 'packing'. Here it is batching_s",
        ),
        ("labels: [1, 2]", "options.yaml: 'labels': pairs are expected, as in {0: Negative"),
        ("labels: [[1, 2, 3]]", "options.yaml: 'labels': pairs are expected, as in {0: Negative"),
        ("labels: [[[1], 2]]", "options.yaml: 'labels': a text or a number is expected, not list."),
        ('dataset: "a\\0b"', "options.yaml: 'dataset': 'a\\x00b' holds the character NUL."),
        (
            'template: "\\ud800"',
            "options.yaml: 'template': '\\ud800' holds a byte that is",
        ),
        (
            "map: &a {b: *a}",
            "Invalid value for '--config': options.yaml:1: by its aliases it",
        ),
        ("lora_r: 16.7", "options.yaml: Invalid value for '--lora-r': '16.7' is not a valid whole"),
        ("lora_r: yes", "options.yaml: Invalid value for '--lora-r': 'true' is not a valid whole"),
        ("lora_r: [8]", "options.yaml: 'lora_r': one value is expected, not a list."),
        ("lora_r: {a: 8}", "options.yaml: 'lora_r': a text or a number is expected, not dict."),
        ("target_modules: [[q]]", "options.yaml: 'target_modules': a text or a number is expected"),
        ("map: {output: }", "options.yaml: 'map': a text or a number is expected, not NoneType."),
        ("lora_rr: 8", "options.yaml: no option named 'lora_rr'. Did you mean 'lora_r'?"),
        ("config: a.yaml", "options.yaml: no option named 'config'."),
        ("problems: []", "options.yaml: no option named 'problems'."),
        ("- lora_r", "Invalid value for '--config': options.yaml holds no 'option: value' lines."),
        ("lora_r", "Invalid value for '--config': options.yaml holds no 'option: value' lines."),
        ("a: b\nc: d: e", "Invalid value for '--config': options.yaml:2: not YAML: mapping values"),
        ("dataset: 2024-13-01", "Invalid value for '--config': options.yaml: not YAML: month must"),
        ("a: !!python/none", "Invalid value for '--config': options.yaml:1: not YAML: could not"),
    ],
    ids=lambda case: "" if case.startswith(("options.yaml", "Invalid")) else case,
)
def test_a_wrong_yaml_file_is_one_line_that_names_it(text, problem, here):
    (line,) = given(yaml=text).problems
    assert line.startswith(problem)


def test_yaml_whose_aliases_grow_without_end_is_one_line(here):
    names = [f"k{number}: &k{number} [*k{number - 1}, *k{number - 1}]" for number in range(1, 40)]
    (line,) = given(yaml="\n".join(["k0: &k0 [1, 2]", *names])).problems
    assert line.endswith("by its aliases it is more than 100,000 values.")


@pytest.mark.parametrize("option", ["--output-dir", "--dataset", "--model", "--template"])
def test_links_that_lead_nowhere_are_refused(option, here):
    Path("loop").symlink_to("loop")
    Path("lost").symlink_to("gone")
    for name, fault in [("loop", "is a link that leads to itself."), ("lost", "is a link to gone")]:
        (line,) = given(option, name).problems
        assert line.startswith(f"Invalid value for '{option}': {name} {fault}")


def test_a_very_long_value_is_shown_without_its_middle(here):
    (line,) = refused(train, "--labels", "[" * 100_000)
    assert len(line) < 2100 and " characters ... " in line


def test_options_that_take_several_values_may_be_repeated():
    config = given("--map", "output=reply", "--map", "input=text", "--plugin", "a.py")
    assert config.map == (("output", "reply"), ("input", "text"))
    assert config.problems == ()


def test_every_name_of_other_trainers_is_answered_with_an_option_that_exists():
    params = [param for c in (TrainConfig, InferConfig, ExportConfig) for param in params_of(c)]
    flags = {flag.strip("-") for param in params for flag in param.opts}
    assert [o for ours in foreign.OURS for o in ours.split("|") if o.split()[0] not in flags] == []
    theirs = [name for table in (foreign.OURS, foreign.NONE) for name in foreign.turned(table)]
    assert len(theirs) == len(set(theirs)) > 60


def params_of(config_class):
    return command(config_class)(print).params


def test_a_run_is_never_taken_for_a_question(here):
    Path("mine").mkdir()
    Path("mine/run.json").touch()
    for words in (["--adapter", "mine", "Hello"], ["mine"], ["--", "mine"]):
        config = given(*words, config_class=InferConfig)
        said = ("'mine' is the folder of a run; name it with --run mine.",)
        assert config.problems == (() if "--" in words else said)


def test_a_missing_config_file_is_suggested(here):
    (here / "demo.yaml").write_text("seed: 1")
    (line,) = refused(train, "--config", "dmo.yaml")
    assert line.endswith("No such file: dmo.yaml. Did you mean 'demo.yaml'?")


def test_a_folder_as_config_is_refused(here):
    (line,) = refused(train, "--config", ".")
    assert line == "Invalid value for '--config': File '.' is a directory."


def test_a_good_option_behind_an_unknown_one_is_still_read():
    config = given("--bogus", "5", "--lora-r", "8", "--zzz=6", "--seed", "9")
    assert (config.lora_r, config.seed) == (8, 9)
    assert config.problems == ("No such option: --bogus.", "No such option: --zzz.")


@pytest.mark.parametrize("question", ["--what is this?", "-5 + 3?", "--help"])
def test_a_question_behind_two_dashes_may_start_with_dashes(question):
    config = given("--temperature", "1", "--", question, config_class=InferConfig)
    assert (config.prompt, config.temperature, config.problems) == (question, 1.0, ())


def test_a_question_that_looks_like_an_option_is_told_of_the_two_dashes(here):
    lines = refused(infer, "-5 + 3?")
    assert lines[0] == "'-5 + 3?' starts with '-', as an option does; put -- before such a text."


def test_a_question_without_quotes_is_told_of_quotes(here):
    lines = refused(infer, "What", "is", "this?")
    assert lines[0] == "Unexpected argument 'is this?'; quote a text with spaces."


@pytest.mark.parametrize("config_class", [TrainConfig, InferConfig, ExportConfig])
def test_help_shows_every_option_with_its_range_and_default(config_class):
    @command(config_class)
    def main(config):
        """Say what it does."""

    text = CliRunner().invoke(main, ["--help"], terminal_width=100).output
    options = [param for param in main.params if isinstance(param, click.Option)]
    assert [param.opts[0] for param in options if param.opts[0] not in text] == []
    assert [param.name for param in options if not param.help] == []


def test_errors_are_red_on_a_terminal_and_plain_where_colour_is_not_wanted(here):
    settings = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
    assert "\x1b[31mError:\x1b[0m No such option" in on_a_terminal("--bogus", env=settings)
    assert "\x1b[3" not in on_a_terminal("--bogus", env=settings | {"NO_COLOR": "1"})


def on_a_terminal(*args, env):
    ours, theirs = pty.openpty()
    subprocess.run([sys.executable, ROOT / "train.py", *args], stderr=theirs, env=env, timeout=60)
    os.close(theirs)
    printed = os.read(ours, 4096).decode()
    os.close(ours)
    return printed
