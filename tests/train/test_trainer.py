"""Batches of similar lengths, packs whose examples do not see each other, and the exact loss on
validation rows; what trains does so in a process of its own (learn_rows.py)."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import ROOT, run_script
from forked import run_python

from threetoe.train.batches import InOrder, by_length, packs_of
from threetoe.train.trainer import validation_line, validation_metrics


def learned(what, folder):
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    program = ROOT / "tests" / "learn_rows.py"
    done = run_python([program, what], folder, env, fresh=what == "plain")
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return learned("plain", tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def unsloth(tmp_path_factory):
    return learned("unsloth", tmp_path_factory.mktemp("unsloth"))


def lengths(count, seed=0):
    made = np.random.default_rng(seed).lognormal(np.log(180), 0.7, count)
    return made.clip(8, 2048).astype(int)


def padded(order, lengths, size=4):
    """Tokens of all batches of `size` rows, padding included."""
    batches = [order[at : at + size] for at in range(0, len(order), size)]
    return sum(len(batch) * max(lengths[row] for row in batch) for batch in batches)


def test_similar_lengths_together_save_most_of_the_padding():
    rows = lengths(5000)
    random = padded(np.random.default_rng(1).permutation(5000), rows)
    grouped = padded(by_length(rows, 16, np.random.default_rng(1)), rows)
    assert random > 1.7 * rows.sum()
    assert grouped < 1.03 * rows.sum()


@pytest.mark.parametrize("count", [1, 15, 16, 17, 70, 1000, 5003])
def test_every_epoch_has_every_row_once_in_another_order_and_the_longest_first(count):
    rows = lengths(count)
    order, other = (InOrder(by_length, rows, 16, 7) for _ in range(2))
    first, again = list(order), list(other)
    order.set_epoch(1)
    second = list(order)
    assert sorted(first) == sorted(second) == list(range(count))
    assert first == again
    assert (first == second) == (count <= 16)  # one step, of whatever order
    assert rows[first[0]] == rows.max()


def test_steps_are_not_ordered_from_long_to_short():
    rows = lengths(1600)
    order = by_length(rows, 16, np.random.default_rng(3))
    longest = [rows[order[at]] for at in range(16, 1600, 16)]
    rising = sum(a < b for a, b in zip(longest, longest[1:], strict=False))
    assert 30 < rising < 70


def test_rows_cut_to_one_length_do_not_all_come_first():
    rows = np.array([2048] * 50 + [100] * 950)
    order = by_length(rows, 10, np.random.default_rng(0))
    assert (rows[order[:100]] == 2048).sum() < 50


def test_the_model_is_given_similar_lengths_under_unsloth(unsloth):
    """Four rows a pass, four passes a step: longest first within a step, the longest of all at
    the start, and another order in the second epoch."""
    widths, starts = unsloth["alone"]["widths"], unsloth["alone"]["starts"]
    steps = [widths[:4], widths[4:8], widths[8:10]]  # of the first epoch
    assert all(step == sorted(step, reverse=True) for step in steps)
    assert widths[0] == max(widths) == 128
    assert sum(map(len, starts[:10])) == 38
    assert starts[10:14] != starts[:4]


def test_the_order_follows_from_the_seed(unsloth):
    assert unsloth["alone"]["starts"] == unsloth["measured"]["starts"]
    assert unsloth["alone"]["starts"] != unsloth["other seed"]["starts"]


def test_a_batch_has_a_mask_and_no_column_that_the_model_does_not_know(unsloth):
    assert unsloth["alone"]["keys"] == ["attention_mask", "input_ids", "labels"]


def test_measuring_changes_nothing_of_the_training(unsloth):
    """With LoRA dropout, in 4 bits."""
    assert len(unsloth["alone"]["losses"]) == 4
    for name in ("measured", "in small batches", "sampled"):
        assert unsloth[name]["losses"] == unsloth["alone"]["losses"]
        assert unsloth[name]["adapter"] == unsloth["alone"]["adapter"]
    assert unsloth["other seed"]["adapter"] != unsloth["alone"]["adapter"]


def test_the_validation_loss_is_the_mean_over_all_learned_tokens(unsloth):
    (step, start), *_ = unsloth["measured"]["measured"]
    assert step == 0
    assert start == pytest.approx(unsloth["exact"], abs=2e-3)


def test_the_validation_loss_does_not_depend_on_the_batch_size(unsloth):
    losses = [loss for _, loss in unsloth["measured"]["measured"]]
    assert losses == pytest.approx(
        [loss for _, loss in unsloth["in small batches"]["measured"]], abs=2e-3
    )


def test_the_loss_is_measured_before_the_first_step_and_after_the_last(unsloth):
    steps = [step for step, _ in unsloth["measured"]["measured"]]
    assert steps == [0, 2, 4]
    assert unsloth["alone"]["measured"] == []


def test_between_both_ends_the_same_few_rows_are_measured(unsloth):
    """5 of 21; both ends say their loss beside that of all rows."""
    first, *between, last = [e for e in unsloth["sampled"]["log"] if "eval_loss" in e]
    assert (first["step"], last["step"], len(between)) == (0, 4, 1)
    assert first["eval_loss"] == pytest.approx(unsloth["exact"], abs=2e-3)
    assert [e["eval_rows"] for e in (first, *between, last)] == [21, 5, 21]
    losses = [e.get("eval_sample_loss", e["eval_loss"]) for e in (first, *between, last)]
    assert losses == sorted(losses, reverse=True)
    assert all("eval_sample_loss" not in entry for entry in between)


def test_what_is_measured_between_takes_at_most_a_tenth_of_the_training():
    """A pass forward costs a third of one that learns."""
    from threetoe.train.watch.validation import steps_between

    for steps, passes_a_step in ((60, 0.375), (60, 100), (1000, 0.01), (3, 0.1), (1, 1), (60, 0.5)):
        every = steps_between(steps, passes_a_step)
        between = (steps - 1) // every
        assert between <= min(9, 0.1 * steps * passes_a_step)
        assert every <= steps
    assert steps_between(60, 0.5) == 15  # 3 passes of 0.5 steps' time are less than 6 steps


def test_packs_hold_every_example_whole_with_its_labels(plain):
    assert plain["packs"]["same"]
    assert plain["packs"]["longest"] <= 128
    assert plain["packs"]["share"] > 0.98


def test_packs_are_counted_as_they_are_made(plain):
    assert plain["packs"]["counted"] == plain["packs"]["packs"]
    assert packs_of([100, 60, 40, 30], 100) == 3
    assert packs_of([], 100) == 0


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_examples_in_a_pack_do_not_see_each_other(plain, attention):
    examples = plain[attention]["examples"]
    assert len(examples) > 10
    for inside, alone, crossed in examples:
        assert inside == pytest.approx(alone, abs=1e-5)
        assert abs(crossed - alone) > 1e-3


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_packed_rows_train_as_padded_rows_do(plain, attention):
    """All rows in each of three steps: the same losses, so no first token learns from the example
    before it, and no label is lost."""
    packing, padding = plain[attention]["packing"], plain[attention]["padding"]
    assert packing["keys"] == ["input_ids", "labels", "position_ids"]
    assert packing["losses"] == pytest.approx(padding["losses"], abs=1e-4)
    assert padding["losses"][2] < padding["losses"][0]


def test_where_unsloth_does_not_pack_padded_rows_are_trained_and_a_line_says_so(unsloth):
    packing, alone = unsloth["packing"], unsloth["alone"]
    assert packing["said"].startswith(
        "packing: Unsloth does not pack llama here; padded rows are trained\n"
    )
    assert packing["adapter"] == alone["adapter"]


def test_packing_on_a_cpu_says_that_padded_rows_are_trained(tmp_path):
    shown = run_script("train.py", "--batching-strategy", "packing", "--dry-run", cwd=tmp_path)
    assert shown.stderr.count("packing") == 1
    assert (
        "packing needs a CUDA GPU: Unsloth's CPU backend trains padded rows instead\n"
        in shown.stderr
    )


def test_a_run_records_its_validation_losses(tmp_path):
    ends = [
        {"step": step, "eval_loss": loss, "eval_rows": 500, "eval_sample_loss": loss - 0.125}
        for step, loss in ((0, 2.0), (6, 0.75))
    ]
    between = {"step": 3, "eval_loss": 0.5, "eval_rows": 128}
    entries = [ends[0], {"step": 1, "loss": 1.0}, between, ends[1]]
    assert validation_metrics(tmp_path) == {}
    lines = "".join(json.dumps(entry) + "\n" for entry in entries)
    (tmp_path / "metrics.jsonl").write_text(lines, encoding="utf-8")
    metrics = validation_metrics(tmp_path)
    assert metrics["eval_loss_start"] == 2.0
    assert metrics["eval_loss"] == 0.75
    best = validation_metrics(tmp_path, 3)  # of a sample: what it had at the start is beside it
    assert (best["eval_loss_start"], best["eval_loss"], best["eval_rows"]) == (1.875, 0.5, 128)
    assert validation_line({**metrics, "steps": 6}) == (
        "2.0000 -> 0.7500 (500 rows; lowest of 128 of them 0.5000 at step 3)"
    )
    worse = {**metrics, "eval_loss_best_step": 6, "steps": 6}
    assert validation_line(worse) == "2.0000 -> 0.7500 (500 rows)"


def test_a_gradient_that_overflows_in_fp16_leaves_metrics_that_are_json(tmp_path):
    from threetoe.train.watch.callbacks import MetricsFile

    args, state = SimpleNamespace(output_dir=tmp_path), SimpleNamespace(global_step=1)
    logs = {"loss": 2.5, "grad_norm": float("inf"), "learning_rate": float("nan"), "eval_loss": 1}
    MetricsFile().on_log(args, state, None, logs=logs)
    (line,) = (tmp_path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    expected = {"step": 1, "loss": 2.5, "grad_norm": None, "learning_rate": None, "eval_loss": 1}
    assert json.loads(line, parse_constant=pytest.fail) == expected


@pytest.fixture(scope="module")
def on_gpu(tmp_path_factory):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA GPU")
    return learned("gpu", tmp_path_factory.mktemp("gpu"))


@pytest.mark.gpu
def test_examples_in_a_pack_do_not_see_each_other_under_unsloth_on_a_gpu(on_gpu):
    assert on_gpu["packing"]["said"] == ""
    assert "packed_seq_lengths" in on_gpu["packing"]["keys"]
    inside, alone, crossed = map(np.array, zip(*on_gpu["examples"], strict=True))
    assert np.abs(inside / alone - 1).max() < 0.01
    assert np.abs(crossed / alone - 1).max() > 0.02
    assert on_gpu["packing"]["losses"] == pytest.approx(on_gpu["padding"]["losses"], rel=0.02)


@pytest.mark.gpu
def test_the_validation_loss_is_exact_under_unsloth_on_a_gpu(on_gpu):
    for name in ("padding", "packing"):
        (step, start), *_ = on_gpu[name]["measured"]
        assert step == 0
        assert start == pytest.approx(on_gpu["exact"], rel=2e-3)


PLAIN_LOSS = """
def after_train(trainer, metrics, folder):
    import torch

    nats = count = 0
    trainer.model.eval()
    for row in trainer.eval_dataset:
        ids, labels = (torch.tensor([row[name]]) for name in ("input_ids", "labels"))
        with torch.no_grad():
            logits = trainer.model(input_ids=ids).logits[0, :-1].float()
        learned = labels[0, 1:] != -100
        nats += torch.nn.functional.cross_entropy(
            logits[learned], labels[0, 1:][learned], reduction="sum"
        ).item()
        count += learned.sum().item()
    (folder / "plain.txt").write_text(str(nats / count))
"""


def test_validation_sees_the_rows_of_new_tokens(here):
    Path("plain.py").write_text(PLAIN_LOSS)
    rows = [{"instruction": f"Say {n}.", "output": f"It is {n}."} for n in range(8)]
    Path("rows.json").write_text(json.dumps(rows))
    run_script(
        "train.py", "--dataset", "rows.json", "--val-size", 3, "--template", "chatml",
        "--new-tokens", "add", "--model", "tiny", "--max-steps", 3, "--learning-rate", "0.01",
        "--output-dir", "run", "--plugin", "plain.py", cwd=here,
    )  # fmt: skip
    lines = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    losses = [line["eval_loss"] for line in lines if "eval_loss" in line]
    assert losses[-1] == pytest.approx(float(Path("run/plain.txt").read_text()), rel=0.01)
    assert losses[-1] < losses[0]
