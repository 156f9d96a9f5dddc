"""--constrain-to: the likeliest of given answers, with the probability of each."""

import json
import math
import re
from collections import Counter
from dataclasses import replace

import pytest
from conftest import refused, run_script

import infer
from threetoe.infer import conversation, labels
from threetoe.options.infer import InferConfig

NAMES = ("Positive", "Negative", "Neutral")
QUESTION = "Classify the sentiment of the text."


@pytest.fixture(scope="module")
def loaded(demo):
    return conversation.load(InferConfig(run=demo[0], web=True))


def test_the_probabilities_are_those_of_the_model_token_by_token(loaded):
    """A label's own pass, unpadded and alone, is the reference."""
    import torch

    job, model, tokenizer, _ = loaded
    ids = labels.ids_of((*NAMES, "Positive indeed"), job.run, tokenizer)
    prompts = [list(range(5, 5 + size)) for size in (12, 3, 30)]
    found = [
        given
        for size in (3, 9)  # fewer than there are labels, and more than one prompt's
        for given in labels.probabilities(
            model, tokenizer, prompts, ids, replace(job.config, batch_size=size)
        )
    ]
    assert [index for index, _ in found] == [1, 0, 2] * 2
    for index, shares in found:
        logs = []
        for label in ids:
            with torch.inference_mode():
                row = torch.tensor([prompts[index] + label])
                read = model(row, use_cache=False).logits[0].float().log_softmax(-1)
            places = range(len(prompts[index]) - 1, row.shape[1] - 1)
            logs.append(sum(read[p, i].item() for p, i in zip(places, label, strict=True)))
        weights = [math.exp(log) for log in logs]
        expected = [weight / sum(weights) for weight in weights]
        assert shares == pytest.approx(expected, abs=0.01)  # bf16 logits
        assert sum(shares) == pytest.approx(1)


def test_an_answer_is_one_of_the_labels_single_or_in_a_file(demo, workplace, tmp_path):
    asked = ["--run", "demo", "--constrain-to", "Negative,Positive,Neutral"]
    one = run_script("infer.py", QUESTION, "--input", "What a lovely day!", *asked, cwd=workplace)
    assert one.stdout == "Positive\n"
    assert re.search(r"(?m)^Positive 9.*Negative .*Neutral ", one.stderr)
    path = tmp_path / "a.jsonl"
    run_script("infer.py", "--file", "sentiment", *asked,
               "--output", path, cwd=workplace)  # fmt: skip
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert Counter(row["answer"] in NAMES for row in rows) == {True: len(rows)}
    for row in rows:
        assert max(row["probabilities"], key=row["probabilities"].get) == row["answer"]
    english = [row for row in rows if row["expected"] in NAMES]
    right = sum(row["answer"] == row["expected"] for row in english)
    assert len(english) == 90 and right >= 81


@pytest.mark.parametrize(
    ("given", "problem"),
    [("Yes", "leaves no choice"), ("Yes,Yes", "two labels are the same answer")],
)
def test_labels_that_leave_no_choice_are_refused(demo, here, given, problem):
    (line,) = refused(infer, "Hi", "--run", demo[0], "--constrain-to", given)
    assert problem in line
