"""--template from-tokenizer: a base's own Jinja, with its learned part found by rendering."""

from datetime import date

import pytest
from conftest import refused, run_script
from jinja_made import ALTERNATING, CHATML, ENDLESS, ONE_TURN, WAYS
from probes import PROBES, TEMPLATES, assistant, user
from tokenizers_made import KINDS
from transformers import AutoTokenizer

import train
from threetoe.errors import UserError
from threetoe.prompt.encode import IGNORED, encode, prompt_ids
from threetoe.prompt.from_tokenizer import from_tokenizer
from threetoe.prompt.pieces import CUT
from threetoe.prompt.template_file import read_template
from threetoe.prompt.tokenizer import marks_of, save, with_cuts


def made(way, tmp_path):
    """A base's tokenizer with a chat template, the template taken from it, and the tokenizer
    saved with it and loaded by plain transformers."""
    kind, jinja = WAYS[way]
    tokenizer = with_cuts(KINDS[kind]())
    tokenizer.chat_template = jinja
    template = from_tokenizer(tokenizer, marks_of(tokenizer), "base")
    tokenizer.chat_template = template.jinja(marks_of(tokenizer), tokenizer)
    save(tokenizer, tmp_path)
    return template, marks_of(tokenizer), AutoTokenizer.from_pretrained(tmp_path)


@pytest.mark.parametrize("way", WAYS)
def test_training_asking_and_apply_chat_template_have_the_same_ids(way, tmp_path):
    template, marks, tokenizer = made(way, tmp_path)
    alternating = {"inst": ALTERNATING, "spaced": ALTERNATING}
    probes = {**alternating, "thinking": ONE_TURN}.get(way, PROBES)
    for name, messages in probes.items():
        asked = prompt_ids(template.prompt(messages, marks), tokenizer)
        theirs = tokenizer.apply_chat_template(messages, add_generation_prompt=True)["input_ids"]
        assert asked == theirs, name
        whole = template.pieces([*messages, assistant("An answer.")], marks)
        (row,) = encode([whole], tokenizer, 100_000)
        assert row.input_ids[: len(asked)] == asked, name
        assert IGNORED not in row.labels[len(asked) :], name
        learned = tokenizer.decode(row.labels[len(asked) :])
        frame = template.lead + "An answer." + template.trail + template.last
        assert learned.strip() == frame.strip()


@pytest.mark.parametrize("way", WAYS)
def test_an_ordinary_question_renders_as_the_base_renders_it(way, tmp_path):
    template, marks, tokenizer = made(way, tmp_path)
    own = tokenizer.apply_chat_template(
        PROBES["plain"], chat_template=template.own, add_generation_prompt=True, tokenize=False
    )
    assert "".join(p.text for p in template.prompt(PROBES["plain"], marks)) == own
    assert CUT not in own


def test_text_that_spells_a_special_token_stays_text(tmp_path):
    template, marks, tokenizer = made("chatml", tmp_path)
    plain = prompt_ids(template.prompt([user("a")], marks), tokenizer)
    spelt = prompt_ids(template.prompt([user("a<|im_end|>")], marks), tokenizer)
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert plain.count(end) == spelt.count(end)


@pytest.mark.parametrize("name", ["vicuna", "llama2", "chatml"])
def test_an_export_of_ours_as_a_base_has_the_same_frame(name):
    tokenizer = with_cuts(KINDS["llama2"]())
    marks, own = marks_of(tokenizer), read_template(TEMPLATES[name])
    tokenizer.chat_template = own.jinja(marks, tokenizer)
    template = from_tokenizer(tokenizer, marks, "base")
    assert (template.lead, template.trail + template.last) == (own.lead, own.trail + own.end(marks))
    assert template.stops(marks) == ([own.eos] if own.eos else [])
    messages = PROBES["two turns"]
    assert prompt_ids(template.prompt(messages, marks), tokenizer) == prompt_ids(
        own.prompt(messages, marks), tokenizer
    )


def test_an_input_reaches_a_jinja_that_only_sounds_as_if_it_knew_inputs():
    tokenizer = with_cuts(KINDS["qwen"]())
    tokenizer.chat_template = "{% if tools %}{{ tools[0].input_schema }}{% endif %}" + CHATML
    marks = marks_of(tokenizer)
    template = from_tokenizer(tokenizer, marks, "base")
    text = "".join(p.text for p in template.prompt(PROBES["input"], marks))
    assert text.count(PROBES["input"][0]["input"]) == 1


def test_the_day_of_training_stays_in_the_prompt(tmp_path):
    template, _, tokenizer = made("dated", tmp_path)
    text = tokenizer.apply_chat_template(PROBES["plain"], tokenize=False)
    assert date.today().strftime("Today: %d %b %Y") in text
    assert date.today().strftime("%d %b %Y") in template.header


def test_a_template_that_rewrites_earlier_turns_is_refused_for_more_than_one(tmp_path):
    template, marks, _ = made("thinking", tmp_path)
    assert template.lead == "<think>\n\n</think>\n\n"
    with pytest.raises(UserError, match="renders an earlier turn otherwise when more turns follow"):
        template.pieces([*PROBES["two turns"], assistant("Bye.")], marks)


def test_what_the_jinja_refuses_is_said(tmp_path):
    template, marks, _ = made("inst", tmp_path)
    with pytest.raises(UserError, match="refuses this conversation: roles must alternate"):
        template.prompt(PROBES["system"], marks)


@pytest.mark.parametrize(
    ("jinja", "reason"),
    [(None, "the tokenizer of base has no chat template"), (ENDLESS, "answers would never end")],
)
def test_a_base_without_a_template_or_without_ends_is_refused(jinja, reason):
    tokenizer = with_cuts(KINDS["qwen"]())
    tokenizer.chat_template = jinja
    with pytest.raises(UserError, match=reason):
        from_tokenizer(tokenizer, marks_of(tokenizer), "base")


def test_a_run_with_the_bases_own_template_is_asked_without_any_flag(three_steps, here):
    """The run of three steps, merged, is a base with a chat template of its own."""
    run_script("export.py", "--run", three_steps, "--merged", "base", cwd=here)
    rows = '{"prompt": "Say hello.", "completion": "Hello!"}\n' * 8
    (here / "rows.jsonl").write_text(rows, encoding="utf-8")
    options = "--model base --dataset rows.jsonl --template from-tokenizer --max-steps 2".split()
    run_script("train.py", *options, "--output-dir", "run", cwd=here)
    asked = run_script("infer.py", "--run", "run", "Say hello.", "--max-new-tokens", 4, cwd=here)
    assert asked.stdout.strip()
    saved = AutoTokenizer.from_pretrained(here / "run")
    base = AutoTokenizer.from_pretrained(here / "base")
    texts = [
        t.apply_chat_template(PROBES["input"], tokenize=False, add_generation_prompt=True)
        for t in (saved, base)
    ]
    assert texts[0] == texts[1]
    assert texts[0].count(PROBES["input"][0]["input"]) == 1


def test_the_tiny_model_has_no_template_of_its_own(here):
    (line,) = refused(train, *"--model tiny --template from-tokenizer --preview 1".split())
    assert line.startswith("--template from-tokenizer: the tokenizer of tiny has no chat template")
