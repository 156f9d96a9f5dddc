"""Conversations become rows of ids, and every row read is trained, validated or accounted for."""

import json
from collections import Counter
from types import SimpleNamespace

import numpy
import pytest
from conftest import TINY, refused, run_script
from tokenizers_made import KINDS

import train
from threetoe.backend import model as backend
from threetoe.data.conversations import Conversations
from threetoe.data.read import read_conversations
from threetoe.errors import UserError
from threetoe.hooks.load import load_plugins
from threetoe.options.train import TrainConfig
from threetoe.prompt.encode import IGNORED, Batch, encode
from threetoe.prompt.pieces import Piece
from threetoe.prompt.template_file import find_template, known_templates
from threetoe.prompt.tokenizer import marks_of, splits_apart, with_cuts
from threetoe.run.record import default_folder
from threetoe.train import prepare
from threetoe.train.preview import fitting
from threetoe.train.row_sets import Source, encode_sources, split_rows


@pytest.fixture(scope="module")
def tokenizer():
    return backend.load_tokenizer(str(TINY))


def row(number, answer="yes", question="Is {} even?"):
    return {"question": question.replace("{}", str(number)), "answer": answer}


def written(path, rows):
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return str(path)


def row_sets(tokenizer, template="chatml", **options):
    """The rows of a training as train.py makes them."""
    config = TrainConfig(**{"allow_dropped": 1.0, **options})
    hooks = load_plugins(config)
    job = SimpleNamespace(config=config, sources=train_sources(config, hooks))
    chosen = find_template(template, known_templates(hooks, config))
    lengths = config.max_seq_length, config.train_on_inputs
    return encode_sources(job, prepare.Prompting(chosen, marks_of(tokenizer), tokenizer, *lengths))


def train_sources(config, hooks):
    from threetoe.train.plan import read_sources

    return read_sources(config, hooks)


def balance(account):
    left_out = sum(account["dropped"].values()) + sum(account["skipped"].values())
    return account["trained"] + account["validation"] + left_out


def test_rows_on_disk_are_what_the_template_and_tokenizer_make_of_each(tokenizer, tmp_path):
    rows = [row(n, "yes " * (n % 7)) for n in range(1, 3000) if n % 7]
    sets = row_sets(tokenizer, dataset=written(tmp_path / "a.jsonl", rows))
    config = TrainConfig()
    template = find_template("chatml", known_templates(load_plugins(config), config))
    pieces = [template.pieces(c.messages, marks_of(tokenizer)) for c in sets.training.conversations]
    expected = encode(pieces, tokenizer, 2048)
    data = sets.to_train()
    assert data["input_ids"][:] == [e.input_ids for e in expected]
    assert data["labels"][:] == [e.labels for e in expected]
    assert data["length"][:] == [len(e.input_ids) for e in expected]


def test_a_whole_text_is_learned_with_the_ends_that_it_lacks(tokenizer, tmp_path):
    marks = marks_of(tokenizer)
    texts = ["Once upon a time.\n", marks.bos + "there was a llama" + marks.eos]
    source = written(tmp_path / "a.jsonl", [{"text": text} for text in texts])
    rows = row_sets(tokenizer, dataset=source).to_train()
    assert [tokenizer.decode(ids) for ids in rows["input_ids"]] == [
        marks.bos + "Once upon a time." + marks.eos, texts[1],
    ]  # fmt: skip
    assert rows["labels"][0] == [IGNORED, *rows["input_ids"][0][1:]]


def test_texts_alone_are_framed_by_no_template_unless_one_is_named(here):
    written(here / "a.jsonl", [{"text": f"text {n}"} for n in range(9)])
    shown = run_script("train.py", "--dataset", "a.jsonl", "--dry-run", cwd=here)
    assert "template plain" in shown.stderr
    shown = run_script(
        "train.py", "--dataset", "a.jsonl", "--template", "human", "--dry-run", cwd=here
    )
    assert "template human" in shown.stderr


def test_read_is_trained_and_validated_and_left_out(tokenizer, tmp_path):
    good = [row(n) for n in range(60)]
    bad = [row(1, ""), row(2, None), {"other": 1}, row(3, "yes", "1 " * 900)]
    sets = row_sets(
        tokenizer, dataset=written(tmp_path / "a.jsonl", [*good, *bad]), val_size="0.25",
        max_seq_length=64,
    )  # fmt: skip
    account = sets.account()
    assert balance(account) == account["read"] == 64
    assert account["validation"] == len(sets.to_validate()) == 15
    assert account["trained"] == len(sets.to_train()) == 45
    assert account["dropped"]["nothing to learn within --max-seq-length"] == 1
    assert sum(sets.ledgers[0].answers.values()) == 60  # of what is left alone
    sets.save(tmp_path)
    log = [json.loads(line) for line in (tmp_path / "data.jsonl").read_text().splitlines()]
    assert Counter(entry["what"] for entry in log) == {"dropped": 4}
    assert {entry["where"].rpartition(":")[2] for entry in log} == {"61", "62", "63", "64"}
    assert json.loads((tmp_path / "data.json").read_text()) == json.loads(json.dumps(account))


def test_rows_that_are_cut_are_logged_with_their_length(tokenizer, tmp_path):
    rows = [*[row(n) for n in range(9)], row(1, "yes " * 90)]
    sets = row_sets(tokenizer, dataset=written(tmp_path / "a.jsonl", rows), max_seq_length=64)
    sets.save(tmp_path)
    (entry,) = map(json.loads, (tmp_path / "data.jsonl").read_text().splitlines())
    assert entry["what"] == "truncated" and entry["where"].endswith("a.jsonl:10")
    assert int(entry["reason"].split()[2]) > 64
    assert sets.account()["truncated"] == 1
    assert max(sets.to_train()["length"]) == 64


@pytest.mark.parametrize("size", ["0.1", "50", "1", "499"])
def test_validation_rows_are_as_many_as_asked_and_the_seeds_alone(size):
    hashes = numpy.arange(500, dtype="uint64")
    trained, validated = split_rows(hashes, size, 3407)
    assert len(validated) == (50 if size == "0.1" else int(size))
    assert sorted([*trained, *validated]) == list(range(500))
    again, other = split_rows(hashes, size, 3407), split_rows(hashes, size, 3408)
    assert numpy.array_equal(validated, again[1])
    assert not numpy.array_equal(validated, other[1])


def test_equal_rows_are_never_on_both_sides():
    draw = numpy.random.default_rng(0)
    for copies in (1, 2, 5, 40):
        hashes = draw.integers(0, 500 // copies, 500).astype("uint64")
        trained, validated = split_rows(hashes, "100", 1)
        assert not set(hashes[trained]) & set(hashes[validated])
        assert 100 - copies * 2 < len(validated) <= 100


@pytest.mark.parametrize(
    ("size", "said"),
    [("500", "--val-size 500 of 500 rows"), ("900", "is 900"), ("0.0001", "is 0")],
)
def test_a_side_without_rows_is_refused(size, said):
    with pytest.raises(UserError, match=said):
        split_rows(numpy.arange(500), size, 1)


def test_one_row_many_times_cannot_be_kept_out():
    with pytest.raises(UserError, match="more than 50 times"):
        split_rows(numpy.zeros(500), "50", 1)


def test_a_validation_source_of_its_own_has_no_row_of_the_training(tokenizer, tmp_path):
    training = written(tmp_path / "a.jsonl", [row(n) for n in range(20)])
    validation = written(tmp_path / "b.jsonl", [row(n) for n in range(15, 30)])
    sets = row_sets(tokenizer, dataset=training, val_dataset=validation)
    account = sets.account()["validation_source"]
    assert balance(account) == account["read"] == 15
    assert account["skipped"] == {"stands in the training rows": 5}
    first, _, left_out = sets.lines()[2:]
    assert "15 rows read from" in first and first.endswith(", 10 for validation")
    assert left_out.endswith(f"(first: {validation}:1)")
    sets.save(tmp_path)
    log = [json.loads(line) for line in (tmp_path / "data.jsonl").read_text().splitlines()]
    assert [entry["where"] for entry in log] == [f"{validation}:{n}" for n in range(1, 6)]
    assert len(sets.to_validate()) == account["validation"] == 10
    with pytest.raises(UserError, match="every validation row is a row to train on"):
        row_sets(tokenizer, dataset=training, val_dataset=training)


def test_two_kinds_of_validation_are_refused(here):
    written(here / "a.jsonl", [row(1)])
    (line,) = refused(
        train, "--dataset", "a.jsonl", "--val-size", "0.5", "--val-dataset", "a.jsonl"
    )
    assert "--val-size takes validation rows from the training's" in line


def test_a_validation_dataset_needs_none_of_what_a_named_one_does(tokenizer, tmp_path):
    pairs = [{"concept": f"c{n}", "description": f"d{n}"} for n in range(9)]
    sets = row_sets(
        tokenizer, dataset="concepts", dataset_path=written(tmp_path / "a.jsonl", pairs),
        dataset_option=(("ask", "What is"),),
        val_dataset=written(tmp_path / "b.jsonl", [row(n) for n in range(5)]),
    )  # fmt: skip
    assert (len(sets.to_train()), len(sets.to_validate())) == (9, 5)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--eval-steps", 5], "--eval-steps 5: there are no rows to measure the loss on; take some "
         "with --val-size, --val-split or --val-dataset."),
        (["--dataset-split", "train[:5]"], "--dataset-split train[:5]: only splits of the Hub are "
         "read in part, a.jsonl is read whole; --streaming reads what --max-steps takes."),
        (["--dataset-subset", "en"],
         "--dataset-subset en: a file has no subsets; folders and datasets of the Hub do."),
        (["--map", "prompt=question", "--map", "prompt=answer"],
         "--map prompt=question and --map prompt=answer: one column can have the name prompt."),
    ],
    ids=["eval-steps", "slice", "subset", "map"],
)  # fmt: skip
def test_what_would_change_nothing_is_refused(flags, said, here):
    written(here / "a.jsonl", [row(1)])
    assert refused(train, "--dataset", "a.jsonl", *flags) == [said]


def test_labels_for_rows_without_a_column_of_answers_are_refused(tokenizer, tmp_path):
    said = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "1"}]
    source = written(tmp_path / "a.jsonl", [{"messages": said}])
    with pytest.raises(UserError, match="--labels names codes in answers of one column; .*a.jsonl"):
        row_sets(tokenizer, dataset=source, labels=(("1", "Positive"),))


def test_ready_ids_are_trained_as_they_are(tokenizer, here):
    (here / "mine.py").write_text(
        "def get_custom_dataset(config, tokenizer, split):\n"
        "    ids = tokenizer('a b c').input_ids\n"
        "    good = {'input_ids': ids, 'labels': [-100] + ids[1:]}\n"
        "    return [good, {'input_ids': [99999], 'labels': [1]}]\n"
    )
    sets = row_sets(tokenizer, dataset="mine.py")
    assert sets.to_train()["labels"][0] == [IGNORED, *tokenizer("a b c").input_ids[1:]]
    assert list(sets.account()["dropped"]) == [
        f"input_ids has 99999; the tokenizer has {len(tokenizer)} tokens"
    ]


def test_tokens_in_a_file_are_checked_as_those_of_a_function(tokenizer, tmp_path):
    good = {"input_ids": [5, 6, 0], "labels": [-100, 6, 0], "attention_mask": [1, 1, 0]}
    faulty = [
        {"input_ids": [5, 6]}, {"input_ids": [5, 6], "labels": [6]},
        {"input_ids": ["a"], "labels": ["a"]}, {"input_ids": [5], "labels": [99999]},
    ]  # fmt: skip
    sets = row_sets(tokenizer, dataset=written(tmp_path / "a.jsonl", [good, *faulty]))
    assert sets.to_train()[0] == {"input_ids": [5, 6], "labels": [-100, 6], "length": 2}
    assert sets.account()["dropped"] == {
        "has input_ids, but no labels; -100 is for what is not learned": 1,
        "labels has 1 values, input_ids 2": 1,
        "input_ids has other things than whole numbers": 1,
        f"labels has 99999; the tokenizer has {len(tokenizer)} tokens": 1,
    }


def test_a_row_of_one_token_has_nothing_to_learn(tokenizer, tmp_path):
    rows = [{"input_ids": ids, "labels": ids} for ids in ([5], [5, 6])]
    account = row_sets(tokenizer, dataset=written(tmp_path / "a.jsonl", rows)).account()
    assert account["dropped"] == {"nothing to learn within --max-seq-length": 1}
    assert account["trained"] == 1


def test_rows_piped_in_and_a_folder_here_have_names(here):
    written(here / "a.jsonl", [row(1)])
    flags = ["--model", TINY, "--dataset", "-", "--dry-run"]
    piped = (here / "a.jsonl").read_text(encoding="utf-8")
    shown = run_script("train.py", *flags, cwd=here, input=piped).stderr
    assert "1 row read from stdin, 1 to train on" in shown
    folders = [default_folder(TrainConfig(dataset=d, template="alpaca")).name for d in "-."]
    assert folders == ["stdin-alpaca", f"{here.name}-alpaca"]


def test_conversations_come_back_as_they_were_written():
    given = [("a:1", [{"role": "user", "content": 'é\u2028"\n'}]), ("b:2", {"input_ids": [1]})]
    found = Conversations()
    for where, messages in given:
        found.add(where, messages)
    found.close()
    assert [tuple(c) for c in found] == [tuple(c) for c in found] == given
    assert len(found) == 2


@pytest.mark.parametrize("kind", ["tiny", "llama3", "qwen", "gpt2"])
def test_pieces_apart_and_in_one_text_have_the_same_ids(kind):
    tokenizer = with_cuts(KINDS[kind]())
    assert splits_apart(tokenizer)
    config = TrainConfig()
    template = find_template("llama3", known_templates(load_plugins(config), config))
    turns = [("user", " a "), ("assistant", "b\n\n"), ("user", "\n"), ("assistant", "  <|eot_id|>")]
    messages = [{"role": role, "content": text} for role, text in turns]
    pieces = [template.pieces(messages, marks_of(tokenizer))]
    rows = []
    for apart in (True, False):
        batch = Batch(pieces, tokenizer, apart)
        rows += batch.rows(batch.run(), 1000, False)
    assert rows[0] == rows[1]


def test_pieces_of_sentencepiece_stay_in_one_text():
    assert not splits_apart(with_cuts(KINDS["llama2"]()))


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_that_is_cut_is_shown_as_far_as_its_tokens_go(kind):
    tokenizer = with_cuts(KINDS[kind]())
    pieces = [Piece("Say hello. ", False), Piece("Hello, world! 12345 certain", True)]
    ids = encode([pieces], tokenizer, 1000)[0].input_ids
    for room in range(3, len(ids)):  # the first may be the space that Llama 2 puts before a text
        shown, full = fitting(pieces, tokenizer, room)
        assert full == len(ids)
        text = "".join(piece.text for piece in shown)
        assert text.split() == tokenizer.decode(ids[:room]).split()
    assert fitting(pieces, tokenizer, len(ids)) == (pieces, len(ids))


def test_rows_for_validation_are_not_shown_as_trained(here):
    written(here / "a.jsonl", [row(n) for n in range(8)])
    flags = ["--model", TINY, "--dataset", "a.jsonl", "--val-size", 6]
    shown = run_script("train.py", *flags, "--preview", 8, cwd=here).stdout
    assert shown.count("── a.jsonl:") == 2


def test_streaming_reads_what_the_steps_take(here):
    written(here / "a.jsonl", [row(n) for n in range(500)])
    options = {"dataset": "a.jsonl", "streaming": True, "max_steps": 3}
    config = TrainConfig(**options, val_size="10")
    (source,) = train_sources(config, load_plugins(config))
    assert isinstance(source, Source)
    assert source.ledger.read == len(source.conversations) == 3 * 16 + 10
    assert read_conversations(config, load_plugins(config))[1].read == 500
