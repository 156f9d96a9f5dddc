"""Answers beside expected ones: which figures there are, how much is chance, table and picture."""

import pytest
from matplotlib.image import imread
from sklearn.metrics import f1_score

from threetoe.errors import UserError
from threetoe.hooks.load import load_plugins
from threetoe.machine import figure
from threetoe.machine.terminal import width_of
from threetoe.options.infer import InferConfig
from threetoe.run.score import metrics, picture, table
from threetoe.run.score import score as room
from threetoe.run.score.chance import interval, sign_test
from threetoe.run.score.labels import labels_in

LABELS = "Positive Negative Neutral".split()


def scores_of(answers, expected, **asked):
    config = InferConfig()
    functions = load_plugins(config).owned("register_metrics", config=config)
    scores, problems = room.score(functions, answers, expected, **asked)
    assert problems == []
    return scores


def test_labels_are_told_from_texts_by_how_often_each_is_there():
    assert labels_in(["b", "a", "b", "a", "b"]) == ["b", "a"]
    assert labels_in(["a", "b", "c", "a", "b"]) == []  # each less than twice
    assert labels_in(["a", "b"], given=("c", "A")) == ["a", "b", "c"]  # known to be labels
    assert labels_in(["yes"]) == [] and labels_in(["yes", "yes"]) == ["yes"]
    assert labels_in(["x" * 61] * 9) == []
    assert len(labels_in([f"intent {n}" for n in range(200)] * 2)) == 200
    assert labels_in([f"{n}" for n in range(251)] * 2) == []


def test_labels_match_whatever_their_case_and_space_and_bear_their_commonest_spelling():
    expected = ["Positive", "Positive", " positive", "NEGATIVE", "very  bad", "Very bad", "é", "é"]
    answers = ["positive ", "POSITIVE", "Positive", "negative", "Very Bad", "bad", "e\u0301", "é"]
    scores = scores_of(answers, expected)
    assert scores.metrics["accuracy"] == 7 / 8 and scores.metrics["exact"] == 1 / 8
    assert list(scores.labels) == ["Positive", "Very bad", "é", "NEGATIVE"]


def test_macro_f1_is_that_of_scikit_learn_and_what_is_no_label_is_other():
    expected, answers = ["a", "a", "b", "b", "c", "c"], ["a", "b", "b", "", "c", "I am a model"]
    scores = scores_of(answers, expected)
    plain = f1_score(expected, answers, labels=["a", "b", "c"], average="macro")
    assert scores.metrics["macro_f1"] == pytest.approx(plain)
    assert scores.labels["b"] == {"precision": 0.5, "recall": 0.5, "f1": 0.5, "rows": 2}
    assert scores.confusion == [[1, 1, 0, 0], [0, 1, 0, 1], [0, 0, 1, 1]]
    assert not {"chrf", "rouge_l"} & scores.metrics.keys()


def test_long_answers_have_chrf_and_rouge_l_in_any_script():
    same = scores_of(["a b c", "今天天气很好", "Ünlü"], ["a b c", "今天天气很好", "Ünlü"])
    assert same.metrics == {"exact": 1, "chrf": 100, "rouge_l": 100} and not same.labels
    assert metrics.rouge_l(["the cat sat"], ["The cat sat there"]) == pytest.approx(600 / 7)
    assert metrics.rouge_l(["天气很好"], ["今天天气很好"]) == pytest.approx(80)
    # runs of one letter: 2 of 2, 2 of 3; of two: 1 of 1, 1 of 2; so P = 1, R = 7/12
    assert metrics.chrf(["ab"], ["abc"]) == pytest.approx(500 * 7 / 12 / (4 + 7 / 12))
    assert scores_of([""], ["a text"]).metrics == {"exact": 0, "chrf": 0, "rouge_l": 0}


def test_shares_have_wilson_intervals_and_a_split_the_exact_sign_test():
    assert interval(0.9, 100) == pytest.approx((0.8256, 0.9448), abs=1e-4)  # published examples
    assert interval(0, 10) == pytest.approx((0, 0.2775), abs=1e-4)
    assert interval(1, 1)[1] == 1
    assert sign_test(9, 1) == pytest.approx(22 / 1024) and sign_test(1, 9) == sign_test(9, 1)
    assert sign_test(0, 0) == sign_test(3, 3) == 1


def test_the_table_fits_80_columns_and_names_what_it_leaves_out():
    many = [f"a label with a long name, {n}" for n in range(200)]
    for labels in (LABELS, ["积极的情感和更多的字以及更多", "消极\x1b[2J"], ["one"], many):
        expected = labels * 1000
        wrong, right = (
            scores_of([labels[0]] * len(expected), expected),
            scores_of(expected, expected),
        )
        lines = table.lines({"base": wrong, "trained": right})
        assert max(map(width_of, lines)) <= 80 and "\x1b" not in "".join(lines)
        assert lines[-1] == "180 more labels" or len(labels) < 200
    lines = table.lines({"trained": scores_of(["b", "a", "a"], ["b", "a", "b"], given=("b",))})
    assert lines == [
        "                         trained",
        "exact       66.7% (20.8 to 93.9)",
        "accuracy    66.7% (20.8 to 93.9)",
        "macro-F1                  0.6667",
        "",
        "label   rows  precision  recall     F1",
        "b          2       1.00    0.50   0.67",
        "a          1       0.50    1.00   0.67",
    ]


def test_the_picture_has_a_field_a_pair_and_any_script(tmp_path):
    path = tmp_path / "confusion.png"
    many = [f"{n}" for n in range(200)]
    for labels in (LABELS, ["积极", "👍", "да", ""], ["one"], ["$5 to $9", r"$\no$"], many):
        scores = scores_of(labels * 2, labels * 2)
        assert picture.draw(path, {r"$\no$": scores, "trained": scores}, "情感 \x1b") is True
        assert imread(path).shape[1] > imread(path).shape[0] > 200
    assert sum(map(sum, picture.folded(scores.confusion))) == 400
    assert picture.draw(path, {"base": scores_of(["a"], ["b"])}, "") is False
    fonts, lacking = figure.fonts_for(["Positive", "\U0010ffff"])
    assert fonts == ["DejaVu Sans"] and lacking == {"\U0010ffff"}


def test_a_missing_package_is_named_with_the_extra_that_brings_it(monkeypatch):
    monkeypatch.setitem(room.NEEDED, "no_such_module", "no-such-package")
    with pytest.raises(UserError, match=r'needs no-such-package: pip install -e "\.\[score\]"'):
        room.check_packages("--evaluate")
