"""What the hook layer costs: data preparation and a training step, without it, bare, and full.

python benchmarks/hooks.py
"""

import gc
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # as make test sets it
ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from threetoe import builtin  # noqa: E402
from threetoe.backend import model as backend  # noqa: E402
from threetoe.backend.training_arguments import choose_training_arguments  # noqa: E402
from threetoe.data import read as data  # noqa: E402
from threetoe.data.columns import ColumnNames, Recogniser  # noqa: E402
from threetoe.data.conversations import Conversations  # noqa: E402
from threetoe.data.ledger import Ledger  # noqa: E402
from threetoe.hooks.load import load_plugins  # noqa: E402
from threetoe.machine import libraries  # noqa: E402
from threetoe.messages import Unusable  # noqa: E402
from threetoe.options.train import TrainConfig  # noqa: E402
from threetoe.prompt.template_file import find_template  # noqa: E402
from threetoe.prompt.tokenizer import marks_of  # noqa: E402
from threetoe.train.prepare import Prompting, encode_conversations  # noqa: E402
from threetoe.train.trainer import build_trainer  # noqa: E402

ROWS, ROUNDS, ENCODINGS = 50_000, 11, 2
STEPS, STEP_ROUNDS = 25, 6  # a training's first step is not counted
PLUGINS = 10
NOTHING = """
def map_messages(messages):
    return messages

def map_model(model):
    return model

def map_training_args(arguments):
    return arguments

def register_callbacks():
    from transformers import TrainerCallback
    return {__name__: TrainerCallback()}
"""


def read_without_layer(config):
    """read_conversations as it would stand without hooks: its own classes, no call of a hook."""
    found = builtin.load_rows(config.dataset, config.dataset_split, None, config)
    recogniser = Recogniser(builtin.register_formats(config), config.labels, answered=True)
    names, account, written = ColumnNames(config.map), Ledger(config.dataset), Conversations()
    with (written.folder / data.LOG).open("w", encoding="utf-8") as log:
        for where, row in names.applied(found):
            account.read += 1
            try:
                if isinstance(row, Unusable):
                    raise row
                messages = recogniser.messages_of(row)
                written.add(where, messages)
            except Unusable as error:
                account.leave_out(where, str(error), log)
                continue
            account.keep(messages)
    written.close()
    account.kept, account.fingerprint = len(written), written.fingerprint()
    account.duplicates = written.duplicates()
    data.check_account(account, names, recogniser, config)
    return written, account


def measure_data(source: Path, plugged: tuple) -> tuple[dict[str, list], list[float]]:
    """CPU seconds of each way to read the rows, and of encoding them, round by round.

    Encoding calls no hook, so it is measured once a round and counted to each way.
    """
    tokenizer = backend.load_tokenizer("tiny")
    config = TrainConfig(dataset=str(source))
    bare, full = load_plugins(config), load_plugins(replace(config, plugin=plugged))
    template = find_template("alpaca", bare.merge("register_templates", config=config))
    prompting = Prompting(template, marks_of(tokenizer), tokenizer, 2048, False)
    ways = {
        "no layer": lambda: read_without_layer(config),
        "no plugin": lambda: data.read_conversations(config, bare),
        f"{PLUGINS} plugins": lambda: data.read_conversations(config, full),
    }
    times, encoding, prints = {name: [] for name in ways}, [], set()
    for number in range(ROUNDS):
        for name in turned(ways, number):
            (conversations, ledger), seconds = spent(ways[name])
            times[name].append(seconds)
            prints.add(ledger.fingerprint)
        if number < ENCODINGS:
            encoding.append(
                spent(lambda rows=conversations: encode_conversations(rows, prompting))[1]
            )
    assert len(prints) == 1, "the ways prepared different data"
    return times, encoding


def spent(work) -> tuple:
    """What the work returns, and the CPU seconds it took: other programs do not count."""
    gc.collect()
    began = time.process_time()
    done = work()
    return done, time.process_time() - began


def turned(ways: dict, number: int) -> list[str]:
    """The names, each round beginning with the next one, so that none is always first."""
    names = list(ways)
    return names[number % len(names) :] + names[: number % len(names)]


def measure_steps(folder: Path, plugged: tuple) -> dict[str, list]:
    """The median CPU seconds of a step of every round, by how many plugins there are."""
    libraries.load_unsloth()
    config = TrainConfig(
        model="tiny",
        max_steps=STEPS,
        load_in_4bit=False,
        gradient_accumulation_steps=1,
        per_device_train_batch_size=2,
        learning_rate=2e-4,
    )
    hooks = {"no plugin": load_plugins(config)}
    hooks[f"{PLUGINS} plugins"] = load_plugins(TrainConfig(plugin=plugged))
    times = {name: [] for name in ("no layer", *hooks)}
    for number in range(STEP_ROUNDS + 1):
        for name in turned(times, number):
            run = folder / f"{name} {number}"
            run.mkdir()
            seconds = step_of(config, hooks.get(name), run)
            if number:  # the first round warms up
                times[name].append(seconds)
    return times


def step_of(config, hooks, folder: Path) -> float:
    """The median CPU seconds of a step of a short training, with these hooks or without a layer."""
    from datasets import Dataset

    from threetoe.train.watch.callbacks import guarded_callbacks  # unsloth is imported by now

    tokenizer = backend.load_tokenizer("tiny")
    ids = tokenizer("a b c d " * 20).input_ids[:64]
    rows = Dataset.from_list([{"input_ids": ids, "labels": ids, "length": len(ids)}] * 64)
    arguments = choose_training_arguments(config, folder)
    model = backend.load_model(config, None)
    if hooks:
        model, _ = hooks.chain("map_model", "model", model, tokenizer=tokenizer, config=config)
        arguments, _ = hooks.chain("map_training_args", "arguments", arguments, config=config)
    callbacks = guarded_callbacks(hooks, config)[0] if hooks else None
    callbacks = callbacks or builtin.register_callbacks(config)
    given = {"model": model, "tokenizer": tokenizer, "rows": rows}
    given |= {"arguments": arguments, "validation": None}
    if hooks:
        trainer = hooks.first("build_trainer", **given, callbacks=callbacks, config=config)
    else:
        trainer = build_trainer(**given, callbacks=callbacks)
    return timed(trainer)


def timed(trainer) -> float:
    """The median CPU seconds between two optimizer steps, taken where the trainer itself steps."""
    ends, step = [], trainer.create_optimizer()

    def note(*_):
        ends.append(time.process_time())

    step.register_step_post_hook(note)
    trainer.train()
    gaps = [later - earlier for earlier, later in zip(ends[1:], ends[2:], strict=False)]
    return statistics.median(gaps)


def ratios(times: dict[str, list[float]]) -> dict[str, list[float]]:
    """Each way beside "no layer", round by round: what slows a round slows both."""
    base = times["no layer"]
    return {name: [t / b for t, b in zip(ts, base, strict=True)] for name, ts in times.items()}


def show(title: str, times: dict[str, list[float]], unit: str, factor: float) -> None:
    print(f"\n| {title} | {unit} | beside no layer | lowest and highest round |\n|---|---|---|---|")
    for name, found in ratios(times).items():
        took = statistics.median(times[name]) * factor
        middle = 100 * (statistics.median(found) - 1)
        spread = f"{100 * (min(found) - 1):+.1f} to {100 * (max(found) - 1):+.1f} %"
        print(f"| {name} | {took:.4g} | {middle:+.2f} % | {spread} |")


def main():
    names = ("threetoe", "pluggy", "transformers", "torch", "tokenizers")
    versions = ", ".join(f"{name} {version(name)}" for name in names if name != "threetoe")
    print(f"Python {platform.python_version()}, {versions}; {os.cpu_count()} CPU cores")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        plugged = tuple(str(folder / f"nothing_{number}.py") for number in range(PLUGINS))
        for path in plugged:
            Path(path).write_text(NOTHING, encoding="utf-8")
        source = folder / "rows.jsonl"
        lines = (ROOT / "datasets" / "sentiment" / "train.jsonl").read_text("utf-8").splitlines()
        rows = [json.loads(lines[n % len(lines)]) for n in range(ROWS)]
        source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        read, encoding = measure_data(source, plugged)
        middle = statistics.median(encoding)
        whole = {name: [each + middle for each in found] for name, found in read.items()}
        show(f"data preparation, {ROWS:,} rows", whole, "s", 1)
        show("of that, before encoding", read, "s", 1)
        show("one training step", measure_steps(folder, plugged), "ms", 1000)


if __name__ == "__main__":
    main()
