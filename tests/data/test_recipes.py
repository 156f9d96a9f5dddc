"""The shipped recipes, each against a small file with its source's true columns and types."""

import json
import re

import datasets as hf
import pytest
from click.testing import CliRunner
from conftest import ROOT
from plugins_made import write
from sources_made import SOURCES, write_csv, write_jsonl, write_source

from threetoe.__main__ import cli
from threetoe.data.columns import Recogniser
from threetoe.data.formats import FORMATS
from threetoe.data.recipes.recipe import find_recipe, read_recipe
from threetoe.data.sources.files import read_file
from threetoe.data.sources.hub_rows import read_hub
from threetoe.data.sources.source import Source
from threetoe.errors import UserError
from threetoe.machine.files import named_files
from threetoe.messages import Unusable

KNOWN = named_files("datasets")
hf.disable_progress_bars()


def rows_in(path):
    return read_file(Source(str(path)).file(path))


def conversations(recipe, rows):
    """(where, role: text ... of the messages, or the fault) of all rows."""
    answers, recogniser = [], Recogniser(FORMATS, (), answered=True)
    for where, row in recipe.apply(rows):
        try:
            if isinstance(row, Unusable):
                raise row
            turns = recogniser.messages_of(row)
            texts = [m["content"] + (f" <{m['input']}>" if "input" in m else "") for m in turns]
            answers.append((where, turns[0]["role"] == "system", texts))
        except Unusable as reason:
            answers.append((where, type(reason).__name__, str(reason)))
    return answers


@pytest.fixture(scope="module")
def from_source(tmp_path_factory):
    """The conversations of a recipe, of its source's folder read by load_dataset, places off."""
    place = tmp_path_factory.mktemp("sources")

    def read(name, split="train", **options):
        folder = place / name
        if not folder.exists():
            write_source(folder, name)
        recipe = read_recipe(KNOWN[name], options.items())
        source, theirs = recipe.location(split, str(folder))
        loaded = hf.load_dataset(source, recipe.subset, split=theirs, cache_dir=str(place / "hf"))
        rows = ((f"row {n}", row) for n, row in enumerate(loaded, 1))
        return [answer[1:] for answer in conversations(recipe, rows)]

    return read


TRANSLATE = "Translate from {} to {}. <{}>"
NLI = "Does the hypothesis follow from the premise? Answer {} <Premise: {}\nHypothesis: {}>"
XNLI = "Entailment, Neutral or Contradiction."
CB = "Entailment, Contradiction or Neutral."
NATURAL = "Correct the grammar of the sentence and make it sound natural. <{} . >"
FILM = "Is the sentiment of the film review Negative or Positive? <a {} film >"
CHATS = "Summarise the conversation in one or two sentences. <{}>"
DOES = "Answer the question about the passage with Yes or No. <It is.\n\nQuestion: is it?>"
WSC = "Do the two expressions mean the same in the text? Answer Yes or No. <T\n\n1: a\n2: b>"


@pytest.mark.parametrize(
    ("name", "split", "options", "texts"),
    [
        ("alpaca", "train", {}, [["Add. <1 + 1>", "2"], ["Greet {me}.", "Hi {output}"]]),
        ("alpaca-gpt4", "train", {}, [["Name a tree.", "Oak"]]),
        ("grammar", "test", {}, [[NATURAL.format("I has"), "I have ."]]),
        ("samsum", "train", {},
         [[CHATS.format("Amy: Hi\r\nBo: Hi, you"), "Amy and Bo greet."]]),
        ("samsum", "test", {}, [[CHATS.format("B: x"), "z"]]),
        ("oasst1", "train", {}, [["Hallo?", "Ja!"], ["First?", "Best", "Why?", "So."]]),
        ("oasst1", "test", {}, [["Now?", "Yes."]]),
        ("oasst-top1", "train", {}, [["Hi", "Hello!", "Bye", "See you.\nSoon."]]),
        ("lex-podcast", "train", {}, [["One two", "Three?", "Four", "Five?"]]),
        ("lex-podcast", "train", {"exchanges": "1"}, [["One two", "Three?"], ["Four", "Five?"]]),
        ("sst2", "train", {}, [[FILM.format("dull"), "Negative"]]),
        ("sst2", "test", {}, [[FILM.format("fine"), "Positive"]]),
        ("xnli", "train", {"lang": "zh"},
         [[NLI.format(XNLI, f"zh {n}", "h"), label] for n, label in
          enumerate(["Entailment", "Neutral", "Contradiction"])]),
        ("iwslt14", "train", {}, [[TRANSLATE.format("German", "English", "Danke."), "Thanks."]]),
        ("iwslt14", "validation", {"source": "en", "target": "de"},
         [[TRANSLATE.format("English", "German", "Yes."), "Ja."]]),
        ("super-glue", "train", {}, [[DOES, "Yes"]]),
        ("super-glue", "train", {"task": "cb"}, [[NLI.format(CB, "P", "H"), "Neutral"]]),
        ("super-glue", "train", {"task": "copa"},
         [["What was the cause? Answer A or B. <P\nA: C\nB: D>", "A"]]),
        ("super-glue", "train", {"task": "multirc"},
         [["Is the answer to the question about the text right? Say Yes or No. "
           "<P\n\nQuestion: Q?\nAnswer: A>", "No"]]),
        ("super-glue", "test", {"task": "record"},
         [["Name the one of the entities that stands for @placeholder. "
           "<P\n\n@placeholder ran\n\nEntities: Bo, Al>", "Al"]]),
        ("super-glue", "train", {"task": "rte"}, [[NLI.format("Yes or No.", "P", "H"), "No"]]),
        ("super-glue", "train", {"task": "wic"},
         [["Does the word mean the same in both sentences? Answer Yes or No. "
           "<Word: w\n1: S\n2: T>", "Yes"]]),
        ("super-glue", "train", {"task": "wsc"}, [[WSC, "No"]]),
        ("super-glue", "train", {"task": "wsc.fixed"}, [[WSC, "No"]]),
    ],
)  # fmt: skip
def test_a_source_becomes_conversations(name, split, options, texts, from_source):
    assert from_source(name, split, **options) == [(False, turns) for turns in texts]


def test_openorca_has_a_system_text_where_it_brings_one(from_source):
    brief, plain = from_source("openorca")
    assert brief == (True, ["Be brief.", "Q?", "A."])
    assert plain == (False, ["R?", "B."])


def test_every_correction_is_a_row_and_an_empty_one_a_fault(from_source):
    goes, went, empty, going = from_source("grammar")
    asked = NATURAL.format("He go")
    assert [goes, went, going] == [
        (False, [asked, answer]) for answer in ("He goes .", "He went .", "He is going .")
    ]
    assert empty == ("Unusable", "output is empty")


def test_a_language_that_is_not_asked_for_is_skipped_not_faulty(from_source):
    assert from_source("oasst1", lang="de") == [
        (False, ["Hallo?", "Ja!"]), ("Skipped", "lang is not de"),
    ]  # fmt: skip


@pytest.mark.parametrize(("name", "options"), [("sst2", {}), ("super-glue", {"task": "wic"})])
def test_a_split_whose_answers_are_hidden_says_so(name, options, tmp_path):
    features, splits = SOURCES[name][options.get("task", "default")]
    recipe = read_recipe(KNOWN[name], options.items())
    ((_, _, said),) = conversations(recipe, [("row 1", splits["test"][0])])
    assert said == "label is -1: this split's answers are hidden, take another"


def test_all_tasks_and_recipes_with_a_source_are_tested_against_it():
    tasks = find_recipe("super-glue", KNOWN).options["task"]["choices"]
    assert set(SOURCES["super-glue"]) == set(tasks)
    with_source = {name for name, path in KNOWN.items() if read_recipe(path).source}
    assert with_source == {*SOURCES, "samsum"}


def test_tweets_with_links_are_skipped_and_scores_become_labels(tmp_path):
    rows = [
        ("Fri", "I like it, @you", "1"), ("Fri", "Up or down?\n{tweet}", "0.0"),
        ("Fri", "It fell", "-1"), ("Fri", "RT me", "1"), ("Fri", "See https://t.co/x", "1"),
        ("Fri", "Hm", "2"), ("Fri", "Hm", ""), ("Fri", "", "0"),
    ]  # fmt: skip
    path = write_csv(tmp_path / "btc.csv", ["Date", "Tweet", "sentiment"], rows)
    recipe = read_recipe(KNOWN["btc-sentiment"])
    assert recipe.location("test", str(path)) == (str(path), "test")
    ask = "Detect the sentiment of the tweet."
    assert [answer[1:] for answer in conversations(recipe, rows_in(path))] == [
        (False, [f"{ask} <I like it, @you>", "Positive"]),
        (False, [f"{ask} <Up or down?\n{{tweet}}>", "Neutral"]),
        (False, [f"{ask} <It fell>", "Negative"]),
        ("Skipped", "skipped by the recipe: tweet matches ^RT |https?://"),
        ("Skipped", "skipped by the recipe: tweet matches ^RT |https?://"),
        ("Unusable", "sentiment is 2, not one of -1, 0, 1"),
        ("Unusable", "sentiment is empty"),
        (False, [ask, "Neutral"]),
    ]


def test_concepts_are_asked_for_in_words_of_ones_own(tmp_path):
    rows = [("Data Mining", "A search."), ("{x}", "")]
    path = write_csv(tmp_path / "my.csv", ["Concept", "Description"], rows)
    recipe = read_recipe(KNOWN["concepts"], [("ask", "A prompt {for}")])
    assert [answer[1:] for answer in conversations(recipe, rows_in(path))] == [
        (False, ["A prompt {for}: Data Mining", "A search."]), ("Unusable", "output is empty"),
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["btc-sentiment", "concepts"])
def test_a_recipe_without_rows_says_which_file_to_bring(name):
    with pytest.raises(UserError) as raised:
        read_recipe(KNOWN[name]).location("train")
    (said,) = raised.value.problems
    assert said.startswith(f"The dataset '{name}' brings no rows of its own; it reads a CSV with")
    assert said.endswith("Give yours: --dataset-path FILE.")


def test_a_json_lines_file_takes_the_place_of_a_source(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", [
        {"translation": {"fr": "Merci {x}.", "en": "Thanks."}}, {"translation": {"fr": "Oui."}},
        {"translation": None}, {"other": 1},
    ])  # fmt: skip
    recipe = read_recipe(KNOWN["iwslt14"], [("source", "fr")])
    assert [answer[1:] for answer in conversations(recipe, rows_in(path))] == [
        (False, [TRANSLATE.format("French", "English", "Merci {x}."), "Thanks."]),
        ("Unusable", "translation.en is not there"), ("Unusable", "translation.fr is not there"),
        ("Unusable", "no column 'translation'"),
    ]  # fmt: skip


def test_splits_have_the_sources_names(tmp_path):
    recipe = read_recipe(KNOWN["grammar"])
    assert recipe.location("train") == ("jhu-clsp/jfleg", "validation")
    assert recipe.location("train[:10%]") == ("jhu-clsp/jfleg", "validation[:10%]")
    assert recipe.location("dev") == ("jhu-clsp/jfleg", "dev")
    assert recipe.location("train", str(tmp_path)) == (str(tmp_path), "validation")


def test_a_local_copy_that_is_not_there_is_refused(tmp_path):
    (tmp_path / "rows.csv").write_text("q\n")
    with pytest.raises(UserError, match=r"No such file: .*row\.csv. Did you mean"):
        read_recipe(KNOWN["xnli"]).location("train", str(tmp_path / "row.csv"))


def test_a_column_that_is_missing_is_named_with_those_there(tmp_path):
    path = write_csv(tmp_path / "my.csv", ["Text", "label"], [("a", "1")])
    with pytest.raises(UserError) as raised:
        conversations(read_recipe(KNOWN["sst2"]), rows_in(path))
    assert str(raised.value) == (
        "The dataset 'sst2' needs a column 'sentence', which the rows do not have. Theirs: Text, "
        "label. Name yours with --map sentence=COLUMN."
    )


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("The dataset 'facebook/xnli' is no file here and cannot be read from the Hub: it has no "
         "split 'tset'. Did you mean 'test'? It has train, test: --dataset-split.",
         "it has no split 'tset'. Did you mean 'test'? It has train, test: --dataset-split."),
        ("facebook/xnli[train]: reading stops after row 7: timed out.",
         "facebook/xnli[train]: reading stops after row 7: timed out; give a local copy: "
         "--dataset-path FOLDER_OR_FILE."),
    ],
)  # fmt: skip
def test_a_local_copy_is_proposed_where_it_would_help(said, told):
    def failing():
        yield from ()
        raise UserError(said)

    with pytest.raises(UserError) as raised:
        list(read_recipe(KNOWN["xnli"]).guarded(failing()))
    assert str(raised.value) == (
        f"The dataset 'xnli' (facebook/xnli on the Hub) cannot be read: {told}"
    )


def test_offline_the_recipe_the_id_and_the_flag_are_named_at_whatever_row(offline):
    recipe = read_recipe(KNOWN["sst2"])

    def late():
        yield "row 1", {"sentence": "good", "label": 1}
        yield from read_hub(Source("stanfordnlp/sst2"))

    rows = recipe.apply(recipe.guarded(late()))
    assert next(rows)[1]["output"] == "Positive"
    with pytest.raises(UserError) as raised:
        next(rows)
    (said,) = raised.value.problems
    assert said.startswith("The dataset 'sst2' (stanfordnlp/sst2 on the Hub) cannot be read: ")
    assert said.endswith("; give a local copy: --dataset-path FOLDER_OR_FILE.")
    assert "\n" not in said


def test_what_is_wrong_with_a_local_copy_is_said_as_it_is(tmp_path):
    recipe = read_recipe(KNOWN["xnli"])
    path = tmp_path / "a.json"
    path.write_text("{")
    with pytest.raises(UserError, match="^.*a.json:1: broken JSON"):
        list(recipe.guarded(rows_in(path), str(path)))


def shown(*args):
    done = CliRunner().invoke(cli, ["datasets", *args], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_all_recipes_are_listed_with_what_they_are():
    lines = shown().splitlines()
    assert [line.split("  ")[0] for line in lines] == sorted(KNOWN)
    assert all(len(line.split("  ", 1)[1]) > 40 for line in lines)


@pytest.mark.parametrize("name", KNOWN)
def test_a_recipe_is_shown_with_a_row_as_a_template_renders_it(name):
    text = shown(name, "--template", "chatml")
    assert f"python train.py --dataset {name}" in text
    assert re.search(r"license +\w", text)
    assert re.search(r"(?s)<\|im_start\|>user\n.+<\|im_start\|>assistant\n⟦.+<\|im_end\|>⟧", text)


def test_every_task_has_an_example():
    tasks = read_recipe(KNOWN["super-glue"]).options["task"]["choices"]
    texts = {shown("super-glue", "--dataset-option", f"task={task}") for task in tasks}
    assert len(texts) == len(tasks) == 9


def test_the_first_usable_row_of_a_local_copy_is_shown(tmp_path):
    rows = [("Fri", "RT no", "1"), ("Fri", "Yes!", "1.0")]
    path = write_csv(tmp_path / "btc.csv", ["date", "tweet", "sentiment"], rows)
    text = shown("btc-sentiment", "--dataset-path", str(path), "--template", "human")
    assert f"--dataset-path {path}" in text
    assert "btc.csv:3, as human renders it" in text
    assert "Yes!" in text


def test_a_recipe_of_a_plugin_is_listed_and_shown_under_its_name(tmp_path):
    (tmp_path / "r.yaml").write_text("description: Mine.\ntrain: r.jsonl\n")
    (tmp_path / "r.jsonl").write_text(json.dumps({"prompt": "Q", "completion": "A"}))
    where = str(tmp_path / "r.yaml")
    write(tmp_path, p=f"def register_datasets():\n    return {{'mine': {where!r}}}\n")
    plugin = ["--plugin", str(tmp_path / "p.py"), "datasets"]
    listed = CliRunner().invoke(cli, plugin).output
    assert re.search(r"^mine +Mine\.$", listed, re.MULTILINE)
    assert "--dataset mine\n" in CliRunner().invoke(cli, [*plugin, "mine"]).output
    assert f"--dataset {where}\n" in shown(where)


def test_the_list_is_shown_in_spite_of_a_recipe_that_is_broken(tmp_path):
    (tmp_path / "r.yaml").write_text("trian: r.jsonl\n")
    where = str(tmp_path / "r.yaml")
    write(tmp_path, p=f"def register_datasets():\n    return {{'mine': {where!r}}}\n")
    done = CliRunner().invoke(cli, ["--plugin", str(tmp_path / "p.py"), "datasets"])
    assert "xnli" in done.output
    assert str(done.exception).startswith(f"{where}:1: unknown key 'trian'")


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        (["xnil"], "No dataset named 'xnil'. Did you mean 'xnli'?"),
        (["xnli", "--template", "chatmk"], "No template named 'chatmk'. Did you mean 'chatml'?"),
        (["xnli", "--dataset-option", "lang=zz"], "--dataset-option lang=zz: 'zz' is no choice."),
    ],
)
def test_a_name_that_is_not_known_is_refused(args, problem):
    done = CliRunner().invoke(cli, ["datasets", *args])
    assert str(done.exception).startswith(problem)


def test_the_page_lists_the_recipes_that_are_shipped():
    text = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    text = text.split("## The recipes")[1].split("\n## ")[0]
    told = dict(re.findall(r"^\| `([\w-]+)` \| (?:`([^`]+)`|[^|`]+) \|", text, re.MULTILINE))
    assert told == {name: read_recipe(path).source for name, path in KNOWN.items()}


def test_the_recipes_on_the_page_can_be_read(tmp_path):
    text = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    own, options = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert len(own.splitlines()) == 8
    (tmp_path / "own.yaml").write_text(own)
    (tmp_path / "options.yaml").write_text(f"source: a/b\n{options}")
    row = {"Subject": "Broken", "reply": "Sorry.", "text": {"en": "Yes", "de": "Ja"}}
    first, second = (
        next(read_recipe(tmp_path / name).apply([("w", row)]))[1]
        for name in ("own.yaml", "options.yaml")
    )
    assert first == {"instruction": "Answer the ticket: Broken", "output": "Sorry."}
    assert second == {"instruction": "Translate to German.", "input": "Yes", "output": "Ja"}
