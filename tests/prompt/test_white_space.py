"""White space that a format, or a tokenizer's tokens, take away: the same everywhere."""

import pytest
from gguf_run import Server, random_run
from ollama_made import ask_ollama
from probes import PROBES, TEMPLATES, assistant, user
from tokenizers_made import KINDS, phi3_class

from threetoe.export.gguf.gguf import write_gguf
from threetoe.options.export import ExportConfig
from threetoe.prompt.encode import IGNORED, encode, prompt_ids
from threetoe.prompt.jinja import gguf_chat_template
from threetoe.prompt.pieces import Marks
from threetoe.prompt.template_file import read_template
from threetoe.prompt.tokenizer import with_cuts

SPACED = [
    {"role": "system", "content": " S\n"},
    user("\n Hi \n"),
    assistant("\n Yes\t "),
    user(" ?"),
]
MARKS = Marks("<s>", "</s>", ("<s>", "</s>", "<|eot_id|>", "[INST]", "[/INST]", "<end_of_turn>"))
PUBLISHED = {  # what the official code of each makes of SPACED
    "llama3": "<s><|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\nYes<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\n?<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n",
    "gemma": "<s><start_of_turn>user\n S\n\n\nHi<end_of_turn>\n<start_of_turn>model\nYes"
    "<end_of_turn>\n<start_of_turn>user\n?<end_of_turn>\n<start_of_turn>model\n",
    "mistral": "<s>[INST]  S\n\n\n\n Hi \n[/INST] Yes</s>[INST]  ?[/INST]",
    "llama2": "<s>[INST] <<SYS>>\n S\n\n<</SYS>>\n\nHi [/INST] Yes </s><s>[INST] ? [/INST]",
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_what_is_published_as_trimmed_is_trimmed_in_every_form(name):
    template = read_template(TEMPLATES[name])
    text = "".join(piece.text for piece in template.prompt(SPACED, MARKS))
    assert text.replace("\ufdd1", "") == PUBLISHED[name]
    tokenizer = KINDS["llama2"]()
    tokenizer.chat_template = gguf_chat_template(template, MARKS)
    rendered = tokenizer.apply_chat_template(SPACED, tokenize=False, add_generation_prompt=True)
    assert rendered == PUBLISHED[name]


@pytest.fixture(scope="module")
def phi3(tmp_path_factory):
    """A run of phi3 on a tokenizer whose tokens take the white space behind them along."""
    root = tmp_path_factory.mktemp("phi")
    tokenizer = with_cuts(phi3_class())
    return root, *random_run(root, "Llama", tokenizer, template="phi3")[:2], tokenizer


def test_a_token_that_takes_white_space_along_ends_every_answer(phi3):
    _, _, run, tokenizer = phi3
    template, marks = run.the_template(), run.the_marks()
    assert "<|end|>" in marks.swallowing
    turns = [user("Hi"), assistant("Yes"), user("More"), assistant("No")]
    (row,) = encode([template.pieces(turns, marks)], tokenizer, 1000)
    learned = [label for label in row.labels if label != IGNORED]
    assert learned.count(tokenizer.convert_tokens_to_ids("<|end|>")) == 2


def test_llama_cpp_reads_what_was_trained_of_a_tokenizer_that_takes_white_space_along(phi3):
    """Without the name phi3, by which llama.cpp would know it; earlier answers of SPACED begin
    with white space, which only a CUT keeps."""
    root, folder, run, tokenizer = phi3
    write_gguf(run, root, ExportConfig(run=folder, gguf=("f16",)))
    server = Server(root / "base.f16.gguf")
    template, marks = run.the_template(), run.the_marks()
    probes = [PROBES[name] for name in ("plain", "system", "two turns", "chinese", "long")]
    for messages in [*probes, [user("  Hi\n"), assistant("Yes \n"), user("\n\nAnd?")]]:
        plain = [{key: message[key] for key in ("role", "content")} for message in messages]
        ours = prompt_ids(template.prompt(plain, marks), tokenizer)
        assert server.ids(server.render(plain)) == ours


def test_ollama_gets_none_of_the_white_space_that_tokens_would_take_along(phi3):
    _, _, run, _ = phi3
    modelfile = run.the_template().modelfile(run.the_marks())
    turns = [{"role": "system", "content": "S"}, user("Hi"), assistant("Yes"), user("More")]
    assert ask_ollama(modelfile, turns) == (
        "<|system|>S<|end|><|user|>Hi<|end|><|assistant|>Yes<|end|><|user|>More<|end|><|assistant|>"
    )
