"""How a training's losses are told: smoothed at both ends where there are many steps."""

import json

from threetoe.run.losses import means_of, read_points, said


def points(*losses):
    return [{"step": step, "loss": loss} for step, loss in enumerate(losses, 1)]


def test_few_steps_are_told_as_they_are_and_many_by_the_means_of_both_ends():
    assert said([{"step": 0, "eval_loss": 3.0}]) == ""
    assert said(points(3.0, 2.0, 1.0)) == "3.0000 -> 1.0000"
    assert said(points(*[4.0, 2.0, 0.0] * 5)) == "2.0000 -> 2.0000 (means of 3 steps)"
    assert means_of([1.0] * 1000)[1] == 20


def test_of_a_log_the_losses_are_read_and_of_a_sample_before_all_rows(tmp_path):
    assert read_points(tmp_path / "metrics.jsonl") == []
    lines = [
        {"step": 0, "eval_loss": 3.0, "eval_sample_loss": 2.5}, {"step": 1, "loss": 2.0},
        {"step": 1, "train_runtime": 9.0}, {"step": 2, "loss": None},
    ]  # fmt: skip
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    assert read_points(tmp_path / "metrics.jsonl") == [
        {"step": 0, "eval_loss": 2.5}, {"step": 1, "loss": 2.0},
    ]  # fmt: skip
