"""--max-hours and --finish-by, on a clock that is made and on the real tiny model."""

import json
from datetime import datetime, timedelta

import click
import pytest
import torch
from conftest import run_script

from threetoe.options.train import TrainConfig
from threetoe.options.types import MOST, Moment
from threetoe.train.hours import Hours

BUDGET = 900.0


class Clock:
    def __init__(self):
        self.time = 0.0

    def __call__(self):
        return self.time


@pytest.fixture
def timed(tmp_path):
    """A function that trains on a made clock: what Hours said and did, and the rates of each step.

    `seconds(step)` is what a step takes; a validation takes 30 s, a checkpoint every tenth step 4.
    """
    from transformers import Trainer, TrainingArguments

    class Timed(Trainer):
        def training_step(self, model, inputs, num_items_in_batch=None):
            self.rates.append(self.optimizer.param_groups[0]["lr"])
            self.clock.time += self.seconds(self.state.global_step)
            return (model.weight * inputs["x"].sum()).sum().detach()

        def evaluate(self, *args, **kwargs):
            self.clock.time += 30
            self.control = self.callback_handler.on_evaluate(
                self.args, self.state, self.control, {}
            )
            return {"eval_loss": 1.0}

        def _save_checkpoint(self, model, trial=None):
            self.clock.time += 4

    def run(seconds, steps=MOST, hours=None, clock=None, kind="linear", **config):
        clock = clock or Clock()
        arguments = TrainingArguments(
            output_dir=tmp_path, max_steps=steps, warmup_steps=5, learning_rate=1.0, use_cpu=True,
            lr_scheduler_type=kind, eval_strategy="steps", eval_steps=MOST, eval_on_start=True,
            save_strategy="steps", save_steps=10, logging_steps=1, report_to="none",
            disable_tqdm=True, per_device_train_batch_size=1, remove_unused_columns=False,
        )  # fmt: skip
        hours = hours or Hours(TrainConfig(max_hours=BUDGET / 3600, began=0.0, **config), clock)
        rows = [{"x": torch.ones(1)}] * 50
        trainer = Timed(
            torch.nn.Linear(1, 1), arguments, train_dataset=rows, eval_dataset=rows,
            callbacks=[hours],
        )  # fmt: skip
        trainer.clock, trainer.seconds, trainer.rates = clock, seconds, []
        trainer.train()
        return hours, clock.time, trainer.rates

    return run


SPEEDS = {
    "even": lambda step: 2.0,
    "the first is compiled": lambda step: 90.0 if step == 0 else 1.5,
    "uneven": lambda step: 1.0 + step * 7 % 5,
    "slower by three after a third": lambda step: 6.0 if step > 100 else 2.0,
    "slower again and again": lambda step: 2.0 + step / 50,
    "faster": lambda step: 5.0 if step < 100 else 1.0,
    "long": lambda step: 20.0,
}


def test_a_training_ends_in_time_within_five_percent_and_its_rate_at_the_end(timed):
    for name, seconds in SPEEDS.items():
        hours, ended, rates = timed(seconds, after=60.0)
        assert 0.95 * BUDGET < ended + 60 <= BUDGET, name
        assert rates[:6] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
        falls = [one - other for one, other in zip(rates[5:], rates[6:], strict=False)]
        assert min(falls) > 0, name  # at every step
        assert rates[-1] < 2.1 * falls[-1], name  # one step more, or two, would have had none left
        assert hours.planned == len(rates), name


def test_where_all_steps_fit_the_rates_are_those_of_a_training_without_a_limit(timed):
    from transformers import get_scheduler

    for kind in ("linear", "cosine", "constant", "constant_with_warmup"):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
        usual, wanted = get_scheduler(kind, optimizer, 5, 60), []
        for _ in range(60):
            wanted.append(usual.get_last_lr()[0])
            optimizer.step()
            usual.step()
        assert timed(SPEEDS["even"], steps=60, kind=kind)[2] == pytest.approx(wanted)


def test_a_training_that_continues_has_the_time_and_the_schedule_that_were_left(timed, capsys):
    def killed(step):
        if step == 150:
            raise KeyboardInterrupt
        return 2.0

    clock = Clock()
    hours = Hours(TrainConfig(max_hours=BUDGET / 3600, began=0.0), clock)
    with pytest.raises(KeyboardInterrupt):
        timed(killed, hours=hours, clock=clock)
    stopped, state = clock.time, hours.state()
    clock.time += 5000  # until it is started again
    again = Hours(TrainConfig(max_hours=BUDGET / 3600, began=clock.time), clock)
    again.load_state(state)
    _, ended, rates = timed(SPEEDS["even"], hours=again, clock=clock)
    assert 0.95 * BUDGET < ended - 5000 <= BUDGET < 3 * stopped
    assert 0.3 < rates[6] < 1 - state["share"]


def test_a_time_that_is_too_short_still_saves_one_step_and_that_is_said(timed, capsys):
    assert len(timed(SPEEDS["even"], after=BUDGET)[2]) == 1
    assert "the time is too short, even for one step" in capsys.readouterr().err


def test_a_time_of_day_is_the_next_one_and_one_that_has_passed_is_refused():
    now = datetime.now().astimezone()
    soon, past = now + timedelta(minutes=2), now - timedelta(minutes=2)
    read = lambda text: datetime.fromisoformat(Moment().convert(text, None, None))  # noqa: E731
    assert read(soon.strftime("%H:%M")) == soon.replace(second=0, microsecond=0)
    assert now < read(past.strftime("%H:%M")) <= now + timedelta(days=1)
    assert read(soon.isoformat()) == soon.replace(microsecond=0)
    assert read("14:30+08:00").utctimetuple()[3:5] == (6, 30)
    for text, said in ((past.isoformat(), "has passed"), ("870", "no time"), ("", "no time")):
        with pytest.raises(click.BadParameter, match=said):
            Moment().convert(text, None, None)


def test_a_real_training_ends_in_time(tmp_path):
    run_script("train.py", "--max-hours", 0.005, "--output-dir", "run", cwd=tmp_path)
    metrics = json.loads((tmp_path / "run" / "run.json").read_text())["metrics"]
    assert metrics["seconds"] < 3600 * 0.005
    assert metrics["steps"] > 1 and metrics["steps_planned"] > 1
