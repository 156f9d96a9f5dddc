"""Recipe files: their mistakes line by line, their options, and the short form."""

import pytest

from threetoe.data.recipes.recipe import find_recipe, read_recipe
from threetoe.data.sources.files import read_file
from threetoe.data.sources.source import Source
from threetoe.errors import UserError

ROW = "\nrow: {instruction: '{q}', output: '{a}'}"
LANG = "\noptions: {lang: {default: en, choices: [en, zh]}}"


def read(folder, text, *options):
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return read_recipe(path, options)


def problems_of(folder, text, *options):
    """What is said of a recipe, its folder taken off, each in one line."""
    with pytest.raises(UserError) as raised:
        read(folder, text, *options)
    assert all("\n" not in problem for problem in raised.value.problems)
    return [problem.replace(f"{folder}/", "") for problem in raised.value.problems]


def test_the_short_form_names_a_file_beside_it_for_each_split(tmp_path):
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "one.csv").write_text("q\n1\n")
    (tmp_path / "two.jsonl").write_text('{"q": 2}')
    recipe = read(tmp_path, "license: none\ntrain: rows/one.csv\ntest: two.jsonl\n")
    for split, row in (("train", {"q": "1"}), ("test", {"q": 2})):
        source, its = recipe.location(split)
        assert its == split
        assert [
            found for _, found in recipe.apply(read_file(Source(source).file(tmp_path / source)))
        ] == [row]
    with pytest.raises(UserError, match="No split of mine named 'tset'. Did you mean 'test'"):
        recipe.location("tset")


def test_a_recipe_is_found_by_name_or_file_and_other_sources_are_none(tmp_path):
    recipe = read(tmp_path, "train: a.csv")
    assert find_recipe("ours", {"ours": recipe.path}).name == "ours"
    assert find_recipe(str(recipe.path), {}).name == "mine"
    assert find_recipe("my.json", {}) is None
    assert find_recipe("owner/name", {}) is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "1: a dataset has lines such as 'train: rows.jsonl'."),
        ("- train", "1: a dataset has lines such as 'train: rows.jsonl'."),
        ("train: {", "1: not YAML:"),
        ("train: a\n\ntrain: b", "3: 'train' stands in line 1 too; keep one."),
        ("license: x", "1: nothing says where rows come from"),
        ("license: x\ntrian: a.csv", "2: unknown key 'trian'. Did you mean 'train'?"),
        ("train: [a.csv]", "1: 'train' is a list, not text; put it in quotes."),
        ("train: a\nsource:", "2: 'source' is nothing, not text; put it in quotes."),
        ("train: a\nlicense: ' '", "2: 'license' is empty; leave the line out."),
        ("train: a\nsplits: a", "2: 'splits' is a text, not a mapping such as {train: train,"),
        ("splits:\n  train: 1", "2: splits: 'train: 1' is not a text for a text"),
        ("train: a\nrow: x", "2: 'row' is a text, not a mapping such as {instruction:"),
        ("train: a\nrow:\n  instruction: a", "2: row: 'output' is missing."),
        ("train: a\nrow:\n  output: a\n  input: a", "2: row: 'instruction' is missing."),
        (f"train: a{ROW[:-1]}, ouput: a}}", "2: row: unknown field 'ouput'. Did you mean 'output'"),
        ("train: a\nrow:\n  instruction: 'a {b'\n  output: a",
         "3: row: 'instruction': a brace stands alone; a column is {column}, a brace itself {{"),
        ("train: a\nrow: {instruction: 'a}', output: '{}'}", "2: row: 'instruction': a brace"),
        ("train: a\nrow: {instruction: '{{a}', output: b}", "2: row: 'instruction': a brace"),
        (f"train: a\nformat: chatml{ROW}", "2: 'row' and 'format' exclude each other; keep one."),
        ("train: a\nformat: chatm", "2: no format named 'chatm'. Did you mean 'chatml'?"),
        ("train: a\nformat: [chatml]", "2: 'format' is a list, not one of message-tree, speakers"),
        ("train: a\nformat: {chatml: text}", "2: format: chatml is a text; it has lines such as"),
        ("train: a\nformat:\n  chatml:\n    txt: a", "4: format: chatml has no 'txt'. Did you"),
        ("train: a\nformat: {chatml: {text: 1}}", "2: format: 'text' is a number, which it cannot"),
        ("train: a\nformat: {speakers: {turns: a, speaker: b, text: c, user: d}}",
         "2: format: 'assistant' of speakers is missing."),
        ("train: a\nformat: {message-tree: {lang: '{lnag}'}}" + LANG,
         "2: 'format' has {lnag}, which is no option. Did you mean 'lang'?"),
        ("source: a/b\nsubset: '{lnag}'" + LANG,
         "2: 'subset' has {lnag}, which is no option. Did you mean 'lang'?"),
        ("train: a\nlabels: {label: [a]}", "2: labels: 'label' is a list, not a text for each"),
        ("train: a\nlabels:\n  label:\n    0: no",
         "4: labels: the text for 0 is a truth value, not text; put it in quotes."),
        ("train: a\nskip:\n  text: '('", "3: skip: '(' is not a regular expression: missing ),"),
        ("train: a\nskip: [a]", "2: 'skip' is a list, not a mapping such as {text:"),
        ("train: a\nexample: {q: a}", "2: 'example' is not a list of rows"),
        ("train: a\noptions: [lang]", "2: 'options' is a list, not a mapping such as {lang:"),
        ("train: a\noptions:\n  lang: en", "3: options: 'lang' is a text; it has a line 'default:"),
        ("train: a\noptions: {1: {default: a}}", "2: options: '1' is no name for an option"),
        ("train: a\noptions:\n  lang:\n    defualt: en",
         "4: options: unknown key 'defualt'. Did you mean 'default'?"),
        ("train: a\noptions:\n  lang: {choices: [a]}", "3: options: 'lang' has no 'default'"),
        ("train: a\noptions: {lang: {default: en, choices: [en, no]}}",
         "2: options: the choices of 'lang' are not all texts; put them in quotes."),
        ("train: a\noptions: {lang: {default: e, choices: [en]}}",
         "2: options: the default of 'lang' is no choice."),
        ("train: a\noptions: {lang: {default: en, unlike: land}}",
         "2: options: 'unlike' of 'lang' names no other option."),
        ("train: a\noptions: {lang: {default: en, unlike: [land]}}",
         "2: options: 'unlike' of 'lang' names no other option."),
        ("train: a\noptions:\n  t:\n    default: b\n    choices:\n      b:\n        rwo: c",
         "7: unknown key 'rwo'. Did you mean 'row'?"),
        ("train: a\noptions: {t: {default: b, choices: {b: 1}}}", "2: options: 'b' is a number,"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_line(text, problem, tmp_path):
    assert problems_of(tmp_path, text)[0].startswith(f"mine.yaml:{problem}")


def test_all_mistakes_are_told_at_once(tmp_path):
    told = problems_of(tmp_path, "trian: a\nrow: {instruction: '{', ouput: a}")
    assert len(told) == 5
    assert [said.split(":")[1] for said in told] == ["1", "2", "2", "2", "1"]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ([("lnag", "zh")], "--dataset-option lnag=zh: 'mine' has no such option. Did you mean "
         "'lang'? Its options: lang, n, other."),
        ([("lang", "zhh")], "--dataset-option lang=zhh: 'zhh' is no choice. Did you mean 'zh'? "
         "Choices: en, zh."),
        ([("n", "two")], "--dataset-option n=two: 'two' is not a whole number."),
        ([("other", "en")], "other=en and lang=en are the same; give one of them another value"),
    ],
)  # fmt: skip
def test_an_option_that_cannot_be_is_refused(options, problem, tmp_path):
    text = f"source: a/b{LANG[:-1]}, n: {{default: 3}}, other: {{default: x, unlike: lang}}}}"
    (said,) = problems_of(tmp_path, text, *options)
    assert said.startswith(problem)


def test_an_option_that_breaks_a_column_is_refused(tmp_path):
    text = "train: a\noptions: {x: {default: y}}\nrow: {instruction: '{t.{x}}', output: '{o}'}"
    (said,) = problems_of(tmp_path, text, ("x", "a}b"))
    assert said.startswith("mine.yaml:3: row: 'instruction': with the options given, a brace")


def test_a_recipe_without_options_says_so(tmp_path):
    (said,) = problems_of(tmp_path, "train: a", ("lang", "zh"))
    assert said == "--dataset-option lang=zh: 'mine' has no such option. It has none."


def test_options_stand_in_every_text_and_choices_have_names(tmp_path):
    recipe = read(
        tmp_path,
        "source: 'o/{lang}'\nsubset: 's-{lang}'\nsplits: {test: '{lang}_test'}\n"
        "options: {lang: {default: en, choices: {en: English, zh: Chinese}}}\n"
        "labels: {label: {0: '{lang}'}}\nskip: {q: '^{lang}{2}'}\n"
        "row: {instruction: 'In {lang.name}: {t.{lang}} {{lang}}', output: '{label}'}",
        ("lang", "zh"),
    )
    assert recipe.location("test") == ("o/zh", "zh_test")
    assert (recipe.subset, recipe.skip) == ("s-zh", {"q": "^zh{2}"})
    rows = [("r", {"t": {"zh": "{x}"}, "q": "a", "label": 0.0})]
    assert list(recipe.apply(rows)) == [
        ("r", {"instruction": "In Chinese: {x} {lang}", "output": "zh"})
    ]


def test_a_choice_lays_its_lines_over_the_recipe(tmp_path):
    text = (
        "source: a/b\nrow: {instruction: '{q}', output: one}\noptions:\n  t:\n    default: x\n"
        "    choices:\n      x:\n      y: {source: c/d, row: {instruction: '{q}', output: two}}\n"
    )
    assert read(tmp_path, text).row["output"] == "one"
    other = read(tmp_path, text, ("t", "y"))
    assert (other.source, other.row["output"]) == ("c/d", "two")


def test_a_whole_number_that_a_format_wants_must_be_one(tmp_path):
    text = (
        "source: a/b\noptions: {n: {default: x}}\nformat:\n  speakers:\n    turns: a\n"
        "    speaker: b\n    text: c\n    user: d\n    assistant: e\n    exchanges: '{n}'\n"
    )
    assert problems_of(tmp_path, text) == [
        "mine.yaml:10: format: 'exchanges' is x, not a whole number."
    ]
