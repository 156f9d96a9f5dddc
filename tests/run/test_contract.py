"""The prompt contract: the same ids in training, in inference and in apply_chat_template."""

import re
import shutil
from dataclasses import replace

import pytest
from click.testing import CliRunner
from every import assert_every
from probes import PROBES, TEMPLATES, assistant, user
from tokenizers_made import CLASSES, KINDS, write_base
from transformers import AddedToken, AutoTokenizer

from threetoe.__main__ import cli
from threetoe.backend import model as backend
from threetoe.prompt.encode import IGNORED, encode, prompt_ids, stop_ids
from threetoe.prompt.jinja import chat_template
from threetoe.prompt.pieces import CUT
from threetoe.prompt.template_file import read_template
from threetoe.prompt.tokenizer import marks_of, splits_after_cue, with_cuts
from threetoe.train.batches import collator

BASES = [*KINDS, *CLASSES]


@pytest.fixture(scope="session", params=BASES)
def base(request, tmp_path_factory):
    """A base's tokenizer as training loads it, and the config.json beside it, if any."""
    if request.param in KINDS:
        return with_cuts(KINDS[request.param]()), None
    folder = tmp_path_factory.mktemp("base")
    write_base(request.param, folder)
    return backend.load_tokenizer(folder), folder / "config.json"


@pytest.fixture(scope="session")
def saved(base, tmp_path_factory):
    """Of every template: it, its marks, and the tokenizers that train, that plain transformers
    loads from the run's folder, and from an export with the base's config.json."""
    (tokenizer, config), found = base, {}
    marks = marks_of(tokenizer)
    for name, path in TEMPLATES.items():
        template, folder = read_template(path), tmp_path_factory.mktemp("tokenizer")
        tokenizer.chat_template = template.jinja(marks, tokenizer)
        backend.save_tokenizer(tokenizer, folder, [tokenizer.eos_token_id])
        loaded = [tokenizer, AutoTokenizer.from_pretrained(folder)]
        if config:
            shutil.copy(config, folder)
            loaded.append(AutoTokenizer.from_pretrained(folder))
        found[name] = template, marks, loaded
    return found


def test_training_asking_and_apply_chat_template_give_the_same_ids(saved):
    found = []
    for name, (template, marks, (trained, *loaded)) in saved.items():
        for probe, messages in PROBES.items():
            case = f"{name}, {probe}"
            prompt = prompt_ids(template.prompt(messages, marks), trained)
            whole = template.pieces([*messages, assistant("An answer.")], marks)
            (row,) = encode([whole], trained, max_length=100_000)
            found.append((f"{case}: training", row.input_ids[: len(prompt)], prompt))
            for other in loaded:
                asked = prompt_ids(template.prompt(messages, marks), other)
                theirs = other.apply_chat_template(messages, add_generation_prompt=True)
                found.append((f"{case}: asking", asked, prompt))
                found.append((f"{case}: apply_chat_template", theirs["input_ids"], prompt))
                found.append((f"{case}: again", encode([whole], other, 100_000), [row]))
    assert_every(found)


def test_every_answer_and_its_end_are_learned(saved):
    """As asked turn by turn: all ids between a prompt and the next turn, and only those."""
    messages = [user("Hi"), assistant("Yes"), user("More"), assistant(" No\n"), user("And?")]
    found = []
    for name, (template, marks, (tokenizer, *_)) in saved.items():
        (row,) = encode([template.pieces([*messages, assistant("Bye")], marks)], tokenizer, 1000)
        answers = [False] * len(row.labels)
        end = stop_ids(template.end(marks), tokenizer)[0]
        for turns in (1, 3, 5):
            start = len(prompt_ids(template.prompt(messages[:turns], marks), tokenizer))
            stop = row.input_ids.index(end, start) + 1
            answers[start:stop] = [True] * (stop - start)
        found.append((name, [label != IGNORED for label in row.labels], answers))
    assert_every(found)


def test_what_is_learned_is_the_answers_and_their_end(saved):
    found = []
    for name, (template, marks, (tokenizer, *_)) in saved.items():
        (row,) = encode([template.pieces(PROBES["two turns"][:2], marks)], tokenizer, 1000)
        learned = [label for label in row.labels if label != IGNORED]
        expected = template.lead + "Hello!" + template.trail + template.end(marks)
        ends = tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids(template.eos)
        found.append((name, tokenizer.decode(learned).lstrip(" "), expected.lstrip(" ")))
        found.append((f"{name}: ends with one of {ends}", learned[-1] in ends, True))
    assert_every(found)


def test_bos_opens_a_conversation_and_stands_where_a_template_puts_it(saved):
    """Once, but for Llama 2's, which opens each of the probe's two turns with it."""
    found = []
    for name, (template, marks, (tokenizer, *_)) in saved.items():
        ids = prompt_ids(template.prompt(PROBES["special tokens"], marks), tokenizer)
        bos = tokenizer.convert_tokens_to_ids(marks.bos) if marks.bos else None
        places = [place for place, token in enumerate(ids) if token == bos]
        turns = 2 if "{bos}" in template.roles["assistant"] else 1
        wanted = (turns, [0]) if marks.bos else (0, [])
        found.append((name, (len(places), places[:1]), wanted))
    assert_every(found)


def test_special_tokens_in_a_users_text_stay_text(saved):
    template, marks, (tokenizer, *_) = saved["human"]
    for token in marks.special:
        messages = [user(f"before {token} after")]
        ids = prompt_ids(template.prompt(messages, marks), tokenizer)
        written = template.pieces([user("before  after")], marks)[0].text.count(token)
        assert ids.count(tokenizer.convert_tokens_to_ids(token)) == written
        assert token in tokenizer.decode(ids).replace(" ", "")


def test_eos_is_learned_and_padding_is_not_where_they_are_one_token(tmp_path):
    made = KINDS["gpt2"]()
    made.save_pretrained(tmp_path)
    tokenizer = backend.load_tokenizer(tmp_path)
    assert tokenizer.pad_token_id == tokenizer.eos_token_id
    marks, template = marks_of(tokenizer), read_template(TEMPLATES["human"])
    rows = encode(
        [template.pieces([user("Hi"), assistant(a)], marks) for a in ("yes", "a longer answer")],
        tokenizer,
        1000,
    )
    batch = collator(tokenizer, 1000)(
        [{"input_ids": row.input_ids, "labels": row.labels} for row in rows]
    )
    for ids, labels, row in zip(batch["input_ids"], batch["labels"], rows, strict=True):
        length = len(row.input_ids)
        assert labels[length - 1] == ids[length - 1] == tokenizer.eos_token_id
        assert set(ids[length:].tolist()) <= {tokenizer.eos_token_id}
        assert set(labels[length:].tolist()) <= {IGNORED}
    assert batch["input_ids"].shape[1] > min(len(row.input_ids) for row in rows)


def test_tokens_that_are_not_flagged_special_stay_text_too_in_a_users_text():
    tokenizer = KINDS["gpt2"]()
    tokenizer.add_tokens([AddedToken(t, special=False) for t in ("<|eot_id|>", "<think>")])
    tokenizer = with_cuts(tokenizer)
    marks, template = marks_of(tokenizer), read_template(TEMPLATES["human"])
    ids = prompt_ids(template.prompt([user("a<|eot_id|>b<think>c")], marks), tokenizer)
    end, think = tokenizer.convert_tokens_to_ids(["<|eot_id|>", "<think>"])
    assert end not in ids
    assert think in ids  # for answers to write


def test_a_tokenizer_is_not_made_to_split_twice(base):
    before = base[0].backend_tokenizer.pre_tokenizer.__getstate__()
    assert with_cuts(base[0]).backend_tokenizer.pre_tokenizer.__getstate__() == before


def test_no_cut_reaches_an_ordinary_conversation_on_llama3():
    tokenizer = with_cuts(KINDS["llama3"]())
    marks, template = marks_of(tokenizer), read_template(TEMPLATES["alpaca"])
    tokenizer.chat_template = chat_template(
        template, marks, always_cut=not splits_after_cue(tokenizer, template)
    )
    text = tokenizer.apply_chat_template(PROBES["two turns"], tokenize=False)
    assert CUT not in text


def mutations(template):
    """The template with one line break less, for each of its line breaks, and with one more in
    front of each slot."""
    for role, text in template.roles.items():
        lost = [text[: m.start()] + text[m.end() :] for m in re.finditer("\n", text)]
        added = [text[: m.start()] + "\n" + text[m.start() :] for m in re.finditer(r"\{", text)]
        for changed in lost + added:
            yield replace(template, roles={**template.roles, role: changed})


def swallowed(template, marks):
    """The texts without the white space that the tokenizer's tokens take along."""
    end = template.end(marks)
    return [marks.swallowed(text.replace("{eos}", end)) for text in template.roles.values()]


def differs(training, asking, marks, tokenizer):
    """Whether any probe has other ids in training than in apply_chat_template."""
    natural = splits_after_cue(tokenizer, asking)
    jinja = chat_template(asking, marks, always_cut=not natural)
    for messages in PROBES.values():
        whole = training.pieces([*messages, assistant("An answer.")], marks)
        (row,) = encode([whole], tokenizer, 100_000)
        asked = tokenizer.apply_chat_template(
            messages, chat_template=jinja, add_generation_prompt=True
        )["input_ids"]
        if row.input_ids[: len(asked)] != asked or IGNORED in row.labels[len(asked) :]:
            return True
    return False


PAIRS = [
    pytest.param(kind, name, marks=[] if (row - column) % len(BASES) == 0 else pytest.mark.wide)
    for column, kind in enumerate(BASES)
    for row, name in enumerate(TEMPLATES)
]


@pytest.mark.parametrize(("base", "name"), PAIRS, indirect=["base"])
def test_one_line_break_in_training_or_inference_alone_is_noticed(base, name):
    """The check of the checks: every line break of every template, and one more at every slot;
    every template with one of the tokenizers, and with the others in the wide sweep."""
    template, tokenizer = read_template(TEMPLATES[name]), base[0]
    marks = marks_of(tokenizer)
    assert not differs(template, template, marks, tokenizer)
    for mutant in mutations(template):
        if swallowed(mutant, marks) == swallowed(template, marks):
            continue
        assert differs(mutant, template, marks, tokenizer), mutant.roles
        assert differs(template, mutant, marks, tokenizer), mutant.roles


def test_every_template_is_shown_with_its_learned_part_marked():
    for name in TEMPLATES:
        shown = CliRunner().invoke(cli, ["templates", name])
        assert shown.exit_code == 0, name
        assert re.search("⟦ ?Positive ?<", shown.output), name
