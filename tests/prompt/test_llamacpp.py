"""llama.cpp itself, through xllamacpp's server, renders the Jinja in a GGUF file and tokenises."""

import functools

import pytest
from every import assert_every
from gguf_made import write_gguf
from llamacpp_server import Loaded
from probes import PROBES, TEMPLATES, WITHOUT_INPUT, as_text, assistant, user
from tokenizers_made import KINDS

from threetoe.prompt.encode import prompt_ids
from threetoe.prompt.jinja import chat_template, gguf_chat_template
from threetoe.prompt.pieces import CUT, shielded
from threetoe.prompt.template_file import read_template
from threetoe.prompt.tokenizer import encode_texts, marks_of, splits_after_cue, with_cuts

# Probes with an earlier answer that the tokenizer may join to its cue.
JOINED = {
    "llama3": {"answer starts with line breaks"},
    "qwen": {"answer starts with line breaks"},
    "llama2": {"answer starts with line breaks", "own marks"},
}


@functools.cache
def tokenizer_of(kind):
    return with_cuts(KINDS[kind]())


@pytest.fixture(scope="module", params=JOINED)
def kind(request):
    """A tokenizer that puts a BOS in front, one that does not, one that is no byte-level BPE."""
    return request.param


@pytest.fixture(scope="module", params=TEMPLATES)
def template(request):
    return read_template(TEMPLATES[request.param])


@pytest.fixture(scope="module")
def loaded(kind, template, tmp_path_factory):
    path = tmp_path_factory.mktemp("gguf") / "model.gguf"
    tokenizer = tokenizer_of(kind)
    write_gguf(path, tokenizer, kind, gguf_chat_template(template, marks_of(tokenizer)))
    return Loaded(path)


def test_llama_cpp_renders_a_gguf_as_we_do(loaded, kind, template):
    marks = marks_of(tokenizer_of(kind))
    assert_every(
        (name, loaded.render(messages), as_text(template, messages, marks))
        for name, messages in WITHOUT_INPUT.items()
    )


def test_llama_cpp_hands_no_input_to_the_jinja(loaded):
    for name, messages in PROBES.items():
        assert loaded.render(messages) == loaded.render(WITHOUT_INPUT[name])


def test_llama_cpp_reads_the_ids_that_were_trained(loaded, kind, template):
    """In every probe but those whose text spells a special token, or whose earlier answer may be
    joined to its cue."""
    tokenizer = tokenizer_of(kind)
    marks = marks_of(tokenizer)
    probes = [
        messages
        for name, messages in WITHOUT_INPUT.items()
        if name not in JOINED[kind]
        and not any(CUT in shielded(message["content"], marks) for message in messages)
    ]
    assert len(probes) >= 10
    for messages in probes:
        ours = prompt_ids(template.prompt(messages, marks), tokenizer)
        assert loaded.ids(loaded.render(messages)) == ours


def test_llama_cpp_tokenises_as_the_tokenizer_would_as_text(loaded, kind, template):
    tokenizer = tokenizer_of(kind)
    marks, found = marks_of(tokenizer), []
    for name, messages in WITHOUT_INPUT.items():
        text = as_text(template, messages, marks)
        (ours,) = encode_texts([marks.bos + text], tokenizer)
        found.append((name, loaded.ids(text), ours))
    assert_every(found)


def test_llama_cpp_renders_the_jinja_of_the_tokenizer_too_with_its_cuts(kind, template, tmp_path):
    """But it knows no CUT when it tokenises, so that Jinja belongs in no GGUF."""
    tokenizer = tokenizer_of(kind)
    marks, natural = marks_of(tokenizer), splits_after_cue(tokenizer, template)
    jinja = chat_template(template, marks, always_cut=not natural)
    write_gguf(tmp_path / "model.gguf", tokenizer, kind, jinja)
    loaded = Loaded(tmp_path / "model.gguf")
    for messages in WITHOUT_INPUT.values():
        ours = tokenizer.apply_chat_template(
            messages, chat_template=jinja, add_generation_prompt=True, tokenize=False
        )
        assert loaded.render(messages) == ours.removeprefix(marks.bos)
    assert len(loaded.ids(CUT)) > len(loaded.ids(""))


def test_llama_cpp_goes_on_with_a_last_answer(loaded, kind, template):
    """From the cue, without the text that the template puts in front of every answer."""
    marks = marks_of(tokenizer_of(kind))
    asked = [user("Hi")]
    assert loaded.render([*asked, assistant("Hel")]) == as_text(template, asked, marks) + "Hel"
