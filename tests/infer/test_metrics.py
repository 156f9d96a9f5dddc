"""Figures of an evaluation: registered, printed, kept beside the answers, and faulty ones named."""

import json
import re

import pytest
from conftest import refused

import infer
from threetoe.errors import PluginError, UserError
from threetoe.hooks.load import load_plugins
from threetoe.infer import metrics
from threetoe.options.infer import InferConfig

PAIRS = [("Positive", "Positive"), ("Negative", "Neutral"), ("a", "a"), ("b", "b")]


def evaluate(here, source="", **options):
    """Evaluate PAIRS with a plugin of this source in a new folder."""
    (here / "m.py").write_text(source, encoding="utf-8")
    plugins = ("m.py",) if source else ()
    config = InferConfig(file="rows.json", plugin=plugins, **options)
    hooks = load_plugins(config)
    functions = hooks.owned("register_metrics", config=config)
    rows = [{"answer": answer, "expected": expected} for answer, expected in PAIRS]
    metrics.evaluate(functions, rows, config, here / "runs" / "one")


def registering(**functions):
    lines = [f"    '{name}': lambda answers, expected: {body}," for name, body in functions.items()]
    return "\n".join(["def register_metrics():", "  return {", *lines, "  }", ""])


def test_exact_is_a_sentence_and_other_metrics_follow_in_line(here, capsys):
    evaluate(here, registering(pairs="len(answers)", same_length="0.123456", z="1e-9"))
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        "3 of 4 exactly right (75.0 %)",
        "pairs        4",
        "same_length  0.1235",
        "z            1e-09",
    ]


def test_figures_are_kept_beside_the_output(here, capsys):
    evaluate(here, registering(pairs="len(expected)"), output=here / "answers.jsonl")
    assert capsys.readouterr().err.endswith(f"figures kept in {here}/answers.metrics.json\n")
    kept = json.loads((here / "answers.metrics.json").read_text())
    assert kept.pop("run").endswith("runs/one") and kept.pop("intervals").keys() == {"exact"}
    assert kept == {
        "adapter": True, "file": "rows.json", "split": "test", "answers": 4,
        "metrics": {"exact": 0.75, "pairs": 4},
    }  # fmt: skip


def test_without_plugins_there_is_exact_and_without_output_nothing_is_kept(here, capsys):
    evaluate(here)
    assert capsys.readouterr().err == "3 of 4 exactly right (75.0 %)\n"
    assert [path.name for path in here.iterdir()] == ["m.py"]


def test_figures_are_not_noted_through_a_link_in_a_run(here, capsys):
    run = here / "runs" / "one"
    run.mkdir(parents=True)
    (run / "metrics.jsonl").touch()
    (here / "mine").write_text("mine")
    (run / "evaluations.jsonl").symlink_to(here / "mine")
    evaluate(here)
    assert capsys.readouterr().err.endswith("is a link, so the figures are not noted there\n")
    assert (here / "mine").read_text() == "mine"


def test_figures_that_are_there_already_are_never_overwritten(here):
    (here / "a.metrics.json").write_text("kept")
    (here / "rows.json").write_text('[{"prompt": "a", "completion": "b"}]')
    problems = refused(infer, "--file", "rows.json", "--output", "a.jsonl")
    assert "--output a.jsonl: a.metrics.json exists already; name another file." in problems
    (here / "rows.json").write_text('[{"prompt": "a"}]')  # no expected answer, so no figures
    assert "exists" not in str(refused(infer, "--file", "rows.json", "--output", "a.jsonl"))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("math.nan", "returned nan, not a finite number"),
        ("math.inf", "returned inf, not a finite number"),
        ("'0.5'", "returned str, not a finite number"),
        ("None", "returned NoneType, not a finite number"),
        ("answers[9]", "IndexError: list index out of range"),
    ],
)
def test_a_metric_without_a_finite_number_is_named_and_the_others_are_kept(body, said, here):
    source = registering(bad=body, good="1") + "import math\n"
    with pytest.raises(PluginError, match=re.escape(said)) as raised:
        evaluate(here, source, output=here / "a.jsonl")
    assert "m.py" in str(raised.value) and "the metric 'bad'" in str(raised.value)
    assert f"{here}/m.py:3" in str(raised.value)
    assert json.loads((here / "a.metrics.json").read_text())["metrics"] == {
        "exact": 0.75,
        "good": 1,
    }


def test_every_metric_that_fails_is_named(here, capsys):
    with pytest.raises(PluginError) as raised:
        evaluate(here, registering(bad="1 / 0", worse="None", good="1"))
    assert [problem.split("'")[1] for problem in raised.value.problems] == ["bad", "worse"]
    assert capsys.readouterr().err == "3 of 4 exactly right (75.0 %)\ngood  1\n"


def test_a_metric_cannot_change_what_the_next_one_gets(here, capsys):
    evaluate(here, registering(a="answers.clear() or 0", b="len(answers)"))
    assert "b  4\n" in capsys.readouterr().err


def test_the_name_exact_is_taken(here):
    with pytest.raises(UserError, match="register_metrics: 'exact' comes from both m.py"):
        evaluate(here, registering(exact="1"))
