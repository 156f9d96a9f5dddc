"""A base's own chat template in llama.cpp and in Ollama, which know no input and no Jinja."""

import re
from datetime import date

import pytest
from gguf_run import Server, random_run
from jinja_made import ALTERNATING, DATED, ONE_TURN, WAYS
from ollama_made import ask_ollama
from probes import PROBES, TEMPLATES, assistant, user
from tokenizers_made import KINDS, phi3_class

from threetoe.errors import UserError
from threetoe.export.gguf.gguf import check_gguf, write_ollama
from threetoe.export.verify import gguf_file
from threetoe.options.export import ExportConfig
from threetoe.prompt.encode import prompt_ids
from threetoe.prompt.from_tokenizer import from_tokenizer, unlike_own
from threetoe.prompt.pieces import CUT
from threetoe.prompt.template_file import read_template
from threetoe.prompt.tokenizer import marks_of, with_cuts
from threetoe.run.probes import Prompt

GEMMA = """
{{- bos_token }}
{%- if messages[0].role == 'system' %}{% set first = messages[0].content + '\n\n' %}
{%- set turns = messages[1:] %}{% else %}{% set first = '' %}{% set turns = messages %}{% endif %}
{%- for m in turns %}
{{- '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\n' }}
{{- (first if loop.first else '') + m.content | trim + '<|eot_id|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"""
SYSTEM_ALWAYS = """
{{- bos_token + '<|start_header_id|>system<|end_header_id|>\n\nKnowledge: 2023\n\n' }}
{%- if messages[0].role == 'system' %}{{- messages[0].content | trim }}
{%- set messages = messages[1:] %}{% endif %}{{- '<|eot_id|>' }}""" + WAYS["trimming"][1].replace(
    "{{- bos_token }}", ""
)
PHI3 = """
{{- bos_token }}
{%- for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + '<|end|>\n' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"""
BASES = {**WAYS, "gemma": ("llama3", GEMMA), "always": ("llama3", SYSTEM_ALWAYS)}
MAKERS = {**KINDS, "phi3": phi3_class}


def own_of(kind, jinja):
    tokenizer = with_cuts(MAKERS[kind]())
    tokenizer.chat_template = jinja
    marks = marks_of(tokenizer)
    return from_tokenizer(tokenizer, marks, "base"), marks, tokenizer


@pytest.mark.parametrize("way", BASES)
def test_ollama_asks_with_the_bases_own_prompt(way):
    template, marks, _ = own_of(*BASES[way])
    modelfile = template.modelfile(marks)
    probes = {"inst": ALTERNATING, "spaced": ALTERNATING, "thinking": ONE_TURN}.get(way, PROBES)
    for name in probes.keys() - {"no system"}:
        stripped = [{**m, "content": m["content"].strip()} for m in probes[name]]
        folded = template.folded(stripped)
        ours = "".join(piece.text for piece in template.prompt(folded, marks))
        asked = ask_ollama(modelfile, folded)
        assert asked == ours.removeprefix(marks.bos).replace(CUT, ""), name


def test_what_a_modelfile_cannot_say_is_refused_before_anything_is_written():
    numbered = WAYS["chatml"][1].replace("{{ m.content }}", "{{ loop.index }}. {{ m.content }}")
    template, marks, _ = own_of("qwen", numbered)
    with pytest.raises(UserError, match="--ollama: a Modelfile cannot say what the chat template"):
        template.modelfile(marks)


@pytest.mark.parametrize("case", ["trimming", "phi3"])
def test_a_run_with_inputs_goes_to_gguf_and_ollama_and_is_proven(case, tmp_path):
    kind, jinja = ("phi3", PHI3) if case == "phi3" else WAYS[case]
    tokenizer = MAKERS[kind]()
    tokenizer.chat_template = jinja
    folder, run, _ = random_run(tmp_path, "Llama", tokenizer, template=None)
    config = ExportConfig(run=folder, gguf=("f16",), ollama=tmp_path)
    check_gguf(run, folder, config)
    write_ollama(run, tmp_path, config)
    (path,) = tmp_path.glob("*.gguf")
    template, marks = run.the_template(), run.the_marks()
    asked = [user("Translate.", input="Guten Tag")]
    ids = prompt_ids(template.prompt(asked, marks), tokenizer)
    assert gguf_file.problems(path, run, [Prompt(ids, [], asked)], tokenizer) == []
    server = Server(path)
    for messages in (asked, PROBES["two turns"], [user("\n Hi "), assistant("Yes"), user("More")]):
        ours = prompt_ids(template.prompt(messages, marks), tokenizer)
        assert server.ids(server.render(template.folded(messages))) == ours
    assert "Guten" in tokenizer.decode(ids)


def test_the_day_of_training_goes_into_the_gguf_file():
    template, marks, tokenizer = own_of("llama3", DATED)
    jinja = template.gguf_jinja(marks)
    assert date.today().strftime("%d %b %Y") in jinja
    later = re.sub(r'"%d %b %Y": "[^"]+"', '"%d %b %Y": "01 Jan 2001"', jinja)
    text = tokenizer.apply_chat_template(ONE_TURN["plain"], chat_template=later, tokenize=False)
    assert "Today: 01 Jan 2001" in text


@pytest.mark.parametrize(
    ("name", "kind", "jinja", "differs"),
    [
        ("qwen", "qwen", WAYS["chatml"][1], True),  # as Qwen 3: another system text, or none
        ("chatml", "qwen", WAYS["chatml"][1].replace("You help.", ""), True),
        ("llama3", "llama3", WAYS["trimming"][1], False),
        ("mistral", "llama2", WAYS["inst"][1], True),  # as v0.1: a space before [/INST]
        ("alpaca", "qwen", WAYS["chatml"][1], False),  # made of no base's special tokens
        ("qwen", "qwen", None, False),
    ],
)
def test_a_base_that_was_taught_another_form_of_a_template_is_named(name, kind, jinja, differs):
    tokenizer = with_cuts(MAKERS[kind]())
    tokenizer.chat_template = jinja
    line = unlike_own(read_template(TEMPLATES[name]), tokenizer, "some/base")
    assert bool(line) is differs
    assert not differs or f"{name}: some/base" in line and "--template from-tokenizer" in line
