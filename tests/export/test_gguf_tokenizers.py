"""Tokenizers in GGUF files: llama.cpp splits text as they do, and unknown rules are refused."""

import json

import pytest
from gguf import GGUFReader, TokenType
from gguf_run import Server, random_run
from probes import PROBES
from tokenizers import Regex, pre_tokenizers
from tokenizers_made import KINDS, LLAMA3, byte_level

from threetoe.errors import UserError
from threetoe.export.gguf.gguf import check_gguf, write_gguf
from threetoe.export.gguf.tokenizer import GPT2, RULES, TEKKEN, kind_of
from threetoe.options.export import ExportConfig
from threetoe.prompt.encode import prompt_ids

TEXTS = [
    "Hello, world! It's 100% {certain}: 12345.  \n\n\n",
    " a\tb  c   d\r\n\r\n'LL you'Ve",
    "下面是一条描述任务的指令。 ÄÖü é́ ߀߁ ½ 🙂🙂",
    "def f(x):\n    return x ** 2  # done\n",
    "CamelCase XMLHttp ÉcolE I/O //\n/",
]


def smollm():
    made = byte_level(None, ["<|endoftext|>"], None, eos_token="<|endoftext|>")
    digits = pre_tokenizers.Digits(individual_digits=True)
    own = made.backend_tokenizer.pre_tokenizer
    made.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, own])
    return made


def tekken():
    return byte_level(TEKKEN, ["<s>", "</s>"], "<s>", bos_token="<s>", eos_token="</s>")


MORE = {**KINDS, "smollm": smollm, "tekken": tekken}
NAMED = {  # as llama.cpp names them
    "tiny": ("gpt2", "llama-bpe"),
    "llama3": ("gpt2", "smaug-bpe"),
    "qwen": ("gpt2", "qwen2"),
    "gpt2": ("gpt2", "gpt-2"),
    "llama2": ("llama", "default"),
    "smollm": ("gpt2", "smollm"),
    "tekken": ("gpt2", "tekken"),
}


def test_bytes_fall_back_only_where_there_are_tokens_for_them():
    """transformers makes such a tokenizer of a GGUF file with a byte-level one."""
    state = json.loads(smollm().backend_tokenizer.to_str())
    state["model"]["byte_fallback"] = True
    state["normalizer"] = {"type": "Sequence", "normalizers": []}
    assert kind_of(state) == NAMED["smollm"]


class Written:
    def __init__(self, root, kind, **settings):
        self.tokenizer = MORE[kind]()
        template = "llama2" if kind == "llama2" else "alpaca"
        folder, self.run, _ = random_run(root, "Llama", self.tokenizer, template, **settings)
        config = ExportConfig(run=folder, gguf=("f16",))
        check_gguf(self.run, folder, config)
        write_gguf(self.run, root, config)
        self.path = root / "base.f16.gguf"
        self.fields = GGUFReader(self.path).fields

    def field(self, name):
        found = self.fields.get(f"tokenizer.ggml.{name}")
        return found and found.contents()


@pytest.fixture(scope="module", params=NAMED)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def written(kind, tmp_path_factory):
    return Written(tmp_path_factory.mktemp("written"), kind)


@pytest.fixture(scope="module")
def server(written):
    return Server(written.path)


def test_the_rules_are_found_by_what_they_are(kind, written):
    assert (written.field("model"), written.field("pre")) == NAMED[kind]


def test_every_set_of_rules_is_tested():
    assert set(RULES.values()) == {rules for _, rules in NAMED.values()} - {"default"}


def test_llama_cpp_splits_text_as_the_tokenizer_does(written, server):
    ours = [written.tokenizer(text).input_ids for text in TEXTS]
    assert [server.ids(text) for text in TEXTS] == ours
    assert sum(map(len, ours)) > 80


def test_prompts_have_the_ids_that_were_trained(written, server):
    template, marks = written.run.the_template(), written.run.the_marks()
    for name in ("plain", "system", "no system", "two turns", "emoji", "braces"):
        plain = [{key: m[key] for key in ("role", "content")} for m in PROBES[name]]
        ours = prompt_ids(template.prompt(plain, marks), written.tokenizer)
        assert server.ids(server.render(plain)) == ours, name


def test_special_ids_and_kinds_of_tokens_are_told(written):
    tokenizer = written.tokenizer
    assert written.field("eos_token_id") == tokenizer.eos_token_id
    assert written.field("bos_token_id") == tokenizer.bos_token_id
    assert written.field("add_bos_token") is bool(written.run.the_marks().bos)
    types = written.field("token_type")
    assert types[tokenizer.eos_token_id] == TokenType.CONTROL
    assert types[tokenizer.convert_tokens_to_ids("a")] == TokenType.NORMAL
    assert len(types) == len(written.field("tokens")) == len(tokenizer)


OWN = (
    "{{ bos_token }}{% for message in messages %}<|start_header_id|>{{ message.role }}"
    "<|end_header_id|>\n{{ message.content | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n{% endif %}"
)


def test_a_bases_own_chat_template_is_written_as_it_is(tmp_path):
    tokenizer = KINDS["llama3"]()
    tokenizer.chat_template = OWN
    folder, run, _ = random_run(tmp_path, "Llama", tokenizer, template=None)
    write_gguf(run, tmp_path, ExportConfig(run=folder, gguf=("f16",)))
    path = tmp_path / "base.f16.gguf"
    assert GGUFReader(path).fields["tokenizer.chat_template"].contents() == OWN
    stop = GGUFReader(path).fields["tokenizer.ggml.eot_token_id"].contents()
    assert stop == tokenizer.convert_tokens_to_ids("<|eot_id|>") == run.stop_ids[0]
    server, template = Server(path), run.the_template()
    for name in ("plain", "two turns", "spaces"):
        ours = prompt_ids(template.prompt(PROBES[name], run.the_marks()), tokenizer)
        assert server.ids(server.render(PROBES[name])) == ours


def test_rows_that_no_token_has_are_filled(tmp_path):
    written = Written(tmp_path, "qwen", vocab_size=700)
    held = len(written.tokenizer)
    assert 0 < held < 700
    assert written.field("tokens")[held:] == [f"[PAD{n}]" for n in range(held, 700)]
    assert set(written.field("token_type")[held:]) == {TokenType.UNUSED}


def test_more_tokens_than_rows_are_refused(tmp_path):
    with pytest.raises(UserError, match="the model 300 rows"):
        Written(tmp_path, "qwen", vocab_size=300)


def state_of(tokenizer):
    return json.loads(tokenizer.backend_tokenizer.to_str())


def test_unknown_splitting_rules_are_refused_and_shown():
    for rule in (LLAMA3.replace("{1,3}", "{1,2}"), GPT2 + r"|\p{Han}"):
        tokenizer = byte_level(rule, ["<end>"], None, eos_token="<end>")
        with pytest.raises(UserError) as raised:
            kind_of(state_of(tokenizer))
        assert rule in str(raised.value) and len(raised.value.problems) == 1


def test_a_rule_before_a_known_one_is_not_overlooked():
    tokenizer = KINDS["llama3"]()
    own = tokenizer.backend_tokenizer.pre_tokenizer
    first = pre_tokenizers.Split(Regex(r"\p{Han}+"), "isolated")
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([first, own])
    with pytest.raises(UserError, match="Han"):
        kind_of(state_of(tokenizer))


def test_another_model_of_tokens_is_refused():
    state = state_of(KINDS["llama3"]())
    with pytest.raises(UserError, match="Unigram"):
        kind_of({**state, "model": {**state["model"], "type": "Unigram"}})
