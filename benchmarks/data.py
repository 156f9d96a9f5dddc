"""Preparing data: from JSON to masked, packed ids, beside the tokenizer alone and beside TRL.

python benchmarks/data.py            50,000 rows, every way in a process of its own
python benchmarks/data.py --scale    1,000 to 1,000,000 rows
"""

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

os.environ.setdefault("OMP_NUM_THREADS", "1")  # as make test sets it
ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

ROWS, ROUNDS, VOCABULARY, LENGTH, BATCH = 50_000, 3, 128_256, 2048, 1000
SCALE = (1_000, 10_000, 100_000, 1_000_000)
REGEX = (  # Llama 3's
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def make_tokenizer(folder: Path) -> None:
    """A byte-level BPE of Llama 3's kind and size, learned from installed Python files."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE(ignore_merges=True))
    split = pre_tokenizers.Split(Regex(REGEX), "isolated")
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    made.decoder = decoders.ByteLevel()
    special = ["<|begin_of_text|>", "<|end_of_text|>"]
    special += [f"<|reserved_special_token_{n}|>" for n in range(254)]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=special, initial_alphabet=alphabet,
        show_progress=False,
    )  # fmt: skip
    made.train_from_iterator(texts_of_this_machine(60 * 10**6), trainer)
    ends = {"bos_token": special[0], "eos_token": special[1], "pad_token": special[2]}
    PreTrainedTokenizerFast(tokenizer_object=made, **ends).save_pretrained(folder)


def texts_of_this_machine(size: int):
    for path in sorted(Path(sysconfig.get_path("purelib")).rglob("*.py")):
        text = path.read_text(encoding="utf-8", errors="ignore")
        size -= len(text)
        if size < 0:
            return
        yield text


def make_rows(path: Path, count: int) -> None:
    """Alpaca rows of words from this project's pages, of log-normal lengths; some 120 tokens."""
    pages = sorted((ROOT / "docs").glob("*.md"))
    words = " ".join(page.read_text(encoding="utf-8") for page in pages).split()
    words = [word for word in words if "<|" not in word]  # what only Threetoe keeps text
    draw = random.Random(0)

    def text(median):
        length = max(1, int(draw.lognormvariate(0, 0.7) * median))
        return " ".join(draw.choices(words, k=length))

    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            row = {"instruction": text(9), "input": text(12) * (number % 3 == 0)}
            file.write("[\n" if number == 0 else ",\n")
            file.write(json.dumps({**row, "output": text(16)}, ensure_ascii=False))
        file.write("\n]\n")


def setting(folder: Path):
    """(config, hooks, Prompting) as train.py makes them."""
    from threetoe.backend import model as backend
    from threetoe.hooks.load import load_plugins
    from threetoe.options.train import TrainConfig
    from threetoe.prompt.template_file import find_template, known_templates
    from threetoe.prompt.tokenizer import marks_of
    from threetoe.train.prepare import Prompting

    config = TrainConfig(dataset=str(folder / "rows.json"))
    hooks = load_plugins(config)
    tokenizer = backend.load_tokenizer(str(folder / "tokenizer"))
    template = find_template("alpaca", known_templates(hooks, config))
    return config, hooks, Prompting(template, marks_of(tokenizer), tokenizer, LENGTH, False)


def ours(folder: Path, pack: bool = True):
    """A function that prepares the rows, and returns them."""
    config, hooks, prompting = setting(folder)
    import datasets  # noqa: F401  training needs both; loading libraries is not measured
    import trl.data_utils  # noqa: F401

    from threetoe.data.read import read_conversations
    from threetoe.train.batches import packed
    from threetoe.train.prepare import encode_conversations

    def work():
        conversations, _ = read_conversations(config, hooks)
        rows = encode_conversations(conversations, prompting)
        return (packed(rows.dataset(), LENGTH), rows) if pack else (rows.dataset(), rows)

    return work


def rendered(folder: Path):
    """(prompt, answer with its end) of every row."""
    from threetoe.data.read import read_conversations

    config, hooks, prompting = setting(folder)
    conversations, _ = read_conversations(config, hooks)
    for conversation in conversations:
        prompt, answer, *_ = prompting.pieces(conversation)
        yield prompt.text, answer.text


def raw(folder: Path):
    """The tokenizer's own encode_batch over texts that are rendered already."""
    prompting = setting(folder)[2]
    texts = [prompt + answer for prompt, answer in rendered(folder)]
    tokenizer = prompting.tokenizer.backend_tokenizer

    def work():
        for start in range(0, len(texts), BATCH):
            tokenizer.encode_batch(texts[start : start + BATCH], add_special_tokens=False)

    return work


def trl(folder: Path, processes: int | None, pack: bool = True):
    """TRL's own preparation of prompt-completion rows, prompts rendered beforehand."""
    import datasets
    from transformers import AutoTokenizer
    from trl import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    datasets.disable_progress_bars()
    source = folder / "rendered.jsonl"
    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")
    arguments = SFTConfig(
        output_dir=str(folder), max_length=LENGTH, dataset_num_proc=processes, bf16=False,
        packing_strategy="bfd", use_cpu=True,
    )  # fmt: skip
    trainer = SimpleNamespace(
        _tokenizer=tokenizer, chat_template=None, completion_only_loss=True, args=arguments,
        padding_free=False,
    )  # fmt: skip

    def work():
        with tempfile.TemporaryDirectory(dir=folder) as cache:
            files = {"data_files": str(source), "split": "train", "cache_dir": cache}
            rows = datasets.load_dataset("json", **files)
            given = (rows, tokenizer, arguments, pack, None, "train")
            return SFTTrainer._prepare_dataset(trainer, *given), None

    return work


WAYS = {
    "the tokenizer's encode_batch": raw,
    "Threetoe, ids": lambda folder: ours(folder, pack=False),
    "Threetoe, packed": ours,
    "TRL, one process, packed": lambda folder: trl(folder, None),
    "TRL, two processes, packed": lambda folder: trl(folder, 2),
}


def child(name: str, folder: Path) -> None:
    """Do the work of one way once, and print seconds and the largest resident memory."""
    work = WAYS[name](folder)
    before, began = usage(), time.perf_counter()
    work()
    seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "before": before, "peak": usage()}))


def usage() -> float:
    """The largest resident memory of this process so far, in MB (Linux)."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def measured(name: str, folder: Path) -> dict:
    command = [sys.executable, __file__, "--child", name, str(folder)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8")
    if done.returncode:
        sys.exit(f"{name}:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def check_labels(folder: Path, count: int = 2000) -> None:
    """The same labels from both, row by row."""
    mine = ours(folder, pack=False)()[0]
    theirs = trl(folder, None, pack=False)()[0]
    for ours_, theirs_ in islice(zip(mine, theirs, strict=True), count):
        assert ours_["input_ids"] == theirs_["input_ids"]
        assert ours_["labels"] == theirs_["labels"]
    print(f"labels of {count:,} rows are those of TRL, and so are the ids")


def compare(folder: Path) -> None:
    make_rows(folder / "rows.json", ROWS)
    with (folder / "rendered.jsonl").open("w", encoding="utf-8") as file:
        for prompt, answer in rendered(folder):
            file.write(json.dumps({"prompt": prompt, "completion": answer}) + "\n")
    check_labels(folder)
    found: dict[str, list] = {name: [] for name in WAYS}
    for _ in range(ROUNDS):
        for name in WAYS:
            found[name].append(measured(name, folder))
    base = [round_["seconds"] for round_ in found["the tokenizer's encode_batch"]]
    print(f"\n| {ROWS:,} rows | s | rows/s | of encode_batch's rate | peak MB (before) |")
    print("|---|---|---|---|---|")
    for name, rounds in found.items():
        seconds = statistics.median(r["seconds"] for r in rounds)
        share = statistics.median(b / r["seconds"] for b, r in zip(base, rounds, strict=True))
        peak, before = (max(r[key] for r in rounds) for key in ("peak", "before"))
        print(
            f"| {name} | {seconds:.2f} | {ROWS / seconds:,.0f} | {100 * share:.0f} % | "
            f"{peak:.0f} ({before:.0f}) |"
        )


def scale(folder: Path) -> None:
    print("\n| rows | s | rows/s | peak MB (before) |\n|---|---|---|---|")
    for count in SCALE:
        make_rows(folder / "rows.json", count)
        found = measured("Threetoe, ids", folder)
        print(
            f"| {count:,} | {found['seconds']:.2f} | {count / found['seconds']:,.0f} | "
            f"{found['peak']:.0f} ({found['before']:.0f}) |",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", action="store_true")
    parser.add_argument("--child", nargs=2)
    given = parser.parse_args()
    if given.child:
        return child(given.child[0], Path(given.child[1]))
    names = ("tokenizers", "transformers", "trl", "datasets")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    print(f"Python {platform.python_version()}, {versions}; {os.cpu_count()} CPU cores")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        make_tokenizer(folder / "tokenizer")
        scale(folder) if given.scale else compare(folder)


if __name__ == "__main__":
    main()
