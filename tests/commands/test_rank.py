"""python -m threetoe templates rank: the gold answers' loss under every template."""

import random
import re

import pytest
from conftest import TINY, run_script
from forked import run_python
from tokenizers_made import KINDS

from threetoe.commands.rank import Score, average, encode_under_all, is_clearly_worse, measure
from threetoe.data.conversations import Conversation
from threetoe.errors import UserError
from threetoe.machine.files import named_files
from threetoe.options.train import RankConfig
from threetoe.prompt.tokenizer import with_cuts


def ranked(*args, cwd, code=0):
    done = run_python(["-m", "threetoe", "templates", "rank", *map(str, args)], cwd)
    assert done.returncode == code, done.stdout + done.stderr
    losses = dict(re.findall(r"^(\S+) +(\d+\.\d+) ", done.stdout, re.MULTILINE))
    return {name: float(loss) for name, loss in losses.items()}, done


@pytest.fixture(scope="module")
def trained_base(demo, workplace):
    """The demo's run, merged: a base that has learned alpaca and has a chat template."""
    run_script("export.py", "--run", demo[0], "--merged", "ranked-base", cwd=workplace)
    return workplace / "ranked-base"


def test_a_base_that_learned_alpaca_likes_it_most_and_warns_of_another(trained_base, workplace):
    losses, done = ranked("--model", trained_base, "--template", "human", cwd=workplace)
    assert losses.keys() == {*named_files("templates"), "from-tokenizer"}
    assert losses["alpaca"] < min(losses.values()) + 0.01
    assert losses["alpaca"] == losses["from-tokenizer"] < 0.2
    assert list(losses.values()) == sorted(losses.values())
    assert re.search(r"human is clearly worse than (alpaca.*|from-tokenizer): \d", done.stderr)


def test_the_loss_is_that_of_plain_transformers(workplace):
    """One row, whose prompt and answer are written out by hand."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    rows = workplace / "one.jsonl"
    rows.write_text('{"prompt": "Say hello.", "completion": "hello"}\n', encoding="utf-8")
    options = ["--dataset", rows, "--model", "tiny", "--no-load-in-4bit", "--template", "alpaca"]
    losses, done = ranked(*options, cwd=workplace)
    tokenizer = AutoTokenizer.from_pretrained(TINY)
    model = AutoModelForCausalLM.from_pretrained(TINY, dtype="float32")
    prompt = tokenizer("### Human:\nSay hello.\n\n### Assistant:\n").input_ids
    answer = tokenizer("hello", add_special_tokens=False).input_ids
    ids = torch.tensor([prompt + answer])
    with torch.inference_mode():
        steps = model(ids).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
    expected = -steps[range(len(answer)), answer].mean().item()
    assert losses["human"] == pytest.approx(expected, abs=0.02)  # Unsloth computes in bf16
    assert "8 rows or more are needed to tell alpaca from " in done.stderr


def test_the_interval_of_a_score_holds_its_mean_and_shrinks_with_rows():
    draw = random.Random(1)
    many = [(draw.gauss(20, 4), 10) for _ in range(400)]
    few, more = measure("a", many[:20], seed=1), measure("a", many, seed=1)
    assert few.low < few.loss < few.high
    assert more.high - more.low < few.high - few.low
    assert more.loss == average(many)
    # the normal approximation: 1.96 * 0.4 / sqrt(400) each side
    assert more.high - more.low == pytest.approx(2 * 1.96 * 0.4 / 20, rel=0.15)


def test_only_a_clear_difference_counts():
    draw = random.Random(2)
    rows = [(draw.gauss(20, 4), 10) for _ in range(32)]
    best = Score("best", 2.0, 0, 0, rows)
    same = Score("same", 2.0, 0, 0, [(loss + draw.gauss(0, 2), n) for loss, n in rows])
    worse = Score("worse", 2.3, 0, 0, [(loss + 3, n) for loss, n in rows])
    assert not is_clearly_worse(same, best, seed=1)
    assert is_clearly_worse(worse, best, seed=1)


def test_a_file_is_ranked_beside_the_named_ones_and_a_bases_own_is_left_out_when_unfit(
    tmp_path, capsys
):
    known = named_files("templates")
    mine = tmp_path / "Alpaca.yaml"
    mine.write_text(known["alpaca"].read_text(encoding="utf-8"), encoding="utf-8")
    tokenizer = with_cuts(KINDS["qwen"]())
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    rows = [Conversation("a:1", turns)]
    config = RankConfig(template=str(mine), model="base")
    found = encode_under_all(known, rows, tokenizer, config)
    assert found.keys() == {*known, str(mine)}
    assert "from-tokenizer is left out: --template from-tokenizer:" in capsys.readouterr().err
    with pytest.raises(UserError, match="answers would never end"):
        config = RankConfig(template="from-tokenizer", model="base")
        encode_under_all(known, rows, tokenizer, config)
