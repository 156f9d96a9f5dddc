"""The Modelfile: what Ollama reads in it, and the prompts that its Go template renders."""

import hashlib
import json
import re
from dataclasses import replace

import pytest
from click.testing import CliRunner
from every import assert_every
from ollama_made import ask_ollama, read_modelfile, render_go
from probes import TEMPLATES, WITHOUT_INPUT, as_text, assistant, user
from tokenizers_made import KINDS

from threetoe.__main__ import cli
from threetoe.errors import UserError
from threetoe.prompt.ollama import modelfile
from threetoe.prompt.pieces import Marks
from threetoe.prompt.template import Template
from threetoe.prompt.template_file import read_template
from threetoe.prompt.tokenizer import marks_of, with_cuts

# sha256 of the pre-tokenizer's Split patterns, by which Ollama's convert/tokenizer.go knows them.
KNOWN = {
    "llama3": "d98f9631be1e9607a9848c26c1f9eac1aa9fc21ac6ba82a2fc0741af9780a48f",
    "qwen": "1ff7f41064896984db5d1bb6ff64fa4bc29007d08c1b439e505b7392777a319e",
}
MARKS = Marks("<s>", "</s>", ("<s>", "</s>"))
NASTY = Template(
    name="nasty",
    description="",
    roles={
        "system": 'S {{ "quoted" }} {content} """\n',
        "user": '{{{{- {content} }} -}} \\n "\u3000{\u200d{',
        "user_with_input": "{content}{input}",
        "assistant": '  \n\t"A" {{{learn}{content}{eos}"""',
    },
    system='He said """three""" and {{ .Role }}\\n\n ',
    stop=('"""', ' "x" ', "\n### é:", "{{ end }}"),
)


@pytest.fixture(scope="module", params=KINDS)
def marks(request):
    return marks_of(with_cuts(KINDS[request.param]()))


@pytest.fixture(scope="module")
def templates():
    return {name: read_template(path) for name, path in TEMPLATES.items()} | {"nasty": NASTY}


def expected(template, messages, marks):
    """Our prompt with the white space that Go's templates cannot take off."""
    return as_text(replace(template, trim=()), messages, marks)


def test_ollama_asks_with_our_prompt(templates, marks):
    assert_every(
        (
            f"{name}, {probe}",
            ask_ollama(modelfile(template, marks), messages),
            expected(template, messages, marks),
        )
        for name, template in templates.items()
        for probe, messages in WITHOUT_INPUT.items()
    )


def test_a_last_answer_is_left_open_to_go_on(templates, marks):
    asked = [{"role": "system", "content": "Be brief."}, user("Hi"), assistant("Hello!"), user("?")]
    found = []
    for name, template in templates.items():
        begun = ask_ollama(modelfile(template, marks), [*asked, assistant("\n And th")])
        literal = template.roles["assistant"].partition("{content}")[0].replace("{learn}", "")
        before = expected(template, asked, marks).removesuffix(template.cue)
        found.append((name, begun, before + literal + "\n And th"))
    assert_every(found)


def test_what_a_modelfile_says_is_what_ollama_reads(templates):
    for name, template in templates.items():
        read = read_modelfile(modelfile(template, MARKS, "./model.gguf"))
        stops = [value for key, value in read if key == "stop"]
        assert read[0] == ("from", "./model.gguf"), name
        assert "".join(value for key, value in read if key == "system") == template.system, name
        assert stops == [text for text in (template.eos, "</s>", *template.stop) if text], name
        assert {key for key, _ in read} <= {"from", "template", "system", "stop"}, name


def test_what_a_modelfile_cannot_hold_is_said_in_it():
    template = replace(NASTY, system='one """\n two', stop=("\u3000", "\n"))
    text = modelfile(template, MARKS)
    left_out = re.findall(r"^# (.+) is left out; .+: (.+)$", text, re.MULTILINE)
    said = [(name, json.loads(shown)) for name, shown in left_out]
    assert said == [("SYSTEM", template.system), ("PARAMETER stop", "\u3000")]
    assert [name for name, _ in read_modelfile(text)] == ["from", "template", "stop", "stop"]


def test_alpacas_form_of_an_input_is_said():
    text = modelfile(read_template(TEMPLATES["alpaca"]), MARKS)
    comments = [line for line in text.splitlines() if line.startswith("# ")]
    assert any("### Input:" in line for line in comments)
    assert any("paired with an input" in line for line in comments)


def test_white_space_that_go_cannot_take_off_is_said():
    kept = "# White space around a text is kept, which was taken off in training."
    said = {name: modelfile(read_template(path), MARKS) for name, path in TEMPLATES.items()}
    assert {n for n, t in said.items() if kept in t} == {"llama3", "llama2", "gemma", "mistral"}


@pytest.mark.parametrize("kind", KNOWN)
def test_ollamas_importer_knows_a_tokenizer_with_cuts(kind):
    """It reads the patterns of one level only, and takes another tokenizer for the wrong one."""
    state = json.loads(with_cuts(KINDS[kind]()).backend_tokenizer.to_str())
    steps = state["pre_tokenizer"]["pretokenizers"]
    patterns = "".join(
        step["pattern"].get("Regex", "") for step in steps if step["type"] == "Split"
    )
    assert hashlib.sha256(patterns.encode()).hexdigest() == KNOWN[kind]


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ('a {{ "b" }} c', "a b c"),
        ('a \n {{- "b" -}} \n c', "abc"),
        ("{{ range $i, $_ := .M }}{{ .R }}{{ if $i }}!{{ end }} {{ end }}", "x y! "),
        ("{{ if .E }}1{{ else if eq .S `s` }}2{{ else }}3{{ end }}".replace("`", '"'), "2"),
        ('{{ $v := "1" }}{{ if .S }}{{ $v = "2" }}{{ end }}{{ $v }}', "2"),
        ('{{ $v := "1" }}{{ if .S }}{{ $v := "2" }}{{ end }}{{ $v }}', "1"),
        ("{{ if and (not .E) (eq (len (slice .M 1)) 1) }}1{{ end }}", "1"),
    ],
)
def test_go_templates_are_rendered_as_go_does(template, text):
    assert render_go(template, {"S": "s", "E": "", "M": [{"R": "x"}, {"R": "y"}]}) == text


@pytest.mark.parametrize(
    "template",
    ["{{ .Missing }}", '{{ printf "a" }}', "{{ with .S }}{{ end }}", "{{ if .S }}", "{{{ .S }}",
     "{{ end }}", "{{ .S", "{{/* a */}}", '{{ eq .S 1 }}', '{{ "\\x" }}', "{{ $none }}"],
)  # fmt: skip
def test_what_the_renderer_does_not_know_raises(template):
    with pytest.raises((SyntaxError, KeyError, TypeError, ValueError)):
        render_go(template, {"S": "s"})


def show(*arguments):
    return CliRunner().invoke(cli, ["templates", *arguments])


def test_the_command_prints_the_modelfile_for_a_models_tokens():
    shown = show("alpaca", "--modelfile", "--model", "tiny")
    template, marks = read_template(TEMPLATES["alpaca"]), marks_of(KINDS["tiny"]())
    assert shown.stdout == modelfile(template, marks)


def test_the_command_prints_a_template_of_own_tokens_without_a_model():
    stops = [value for name, value in read_modelfile(show("qwen", "--modelfile").stdout)][3:]
    assert stops == ["<|im_end|>", "<|im_start|>"]


@pytest.mark.parametrize("name", ["alpaca", "llama2"])
def test_the_command_asks_for_a_model_where_a_template_takes_its_tokens(name):
    done = show(name, "--modelfile")
    assert isinstance(done.exception, UserError)
    assert "--model MODEL" in str(done.exception)
