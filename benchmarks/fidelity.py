"""What is left of a run in its merged models: answers, tokens, logits and evaluation figures.

`python benchmarks/fidelity.py MODEL DATASET [--held FILE] [--folder DIR] [-- options of train.py]`
trains a run, merges it in every way and by its peers, asks all of them the held-out rows, and
prints the table of docs/export.md. A run that lies in DIR already is asked again; so are exports.
Everything is computed in fp32 on the CPU, where what two models differ in is their weights.

`--tweets FILE` makes the data of that table instead: 2,490 rated tweets out of vaderSentiment's
source package on PyPI (Hutto and Gilbert 2014, MIT), FILE to train on and FILE.held to be asked.
"""

import argparse
import html
import json
import random
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from io import BytesIO
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
ROWS, ANSWER, COMPARED = 64, 6, 16  # rows whose logits are compared; tokens
WAYS = {  # how export.py is asked
    "bf16": ("--merged", "--dtype", "bfloat16"),
    "fp16": ("--merged", "--dtype", "float16"),
    "bf16, to the nearest": ("--merged", "--dtype", "bfloat16", "--rounding", "nearest"),
    "4 bits (NF4)": ("--merged-4bit",),
    "4 bits, to the nearest": ("--merged-4bit", "--rounding", "nearest"),
}
PEFT = """
import sys, torch
from peft import PeftModel
from transformers import AutoModelForCausalLM
base, adapter, target = sys.argv[1:]
model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
PeftModel.from_pretrained(model, adapter).merge_and_unload().save_pretrained(target)
"""
UNSLOTH = """
import sys
from unsloth import FastLanguageModel
base, adapter, target = sys.argv[1:]
model, tokenizer = FastLanguageModel.from_pretrained(adapter, load_in_4bit=False)
model.save_pretrained_merged(target, tokenizer, save_method="merged_16bit")
"""
PEERS = {"PEFT merge_and_unload": PEFT, "Unsloth save_pretrained_merged": UNSLOTH}


def main() -> None:
    options, training = parsed()
    if options.tweets:
        return write_tweets(options.tweets)
    folder = options.folder or Path(tempfile.mkdtemp())
    run = folder / "run"
    if not (run / "run.json").exists():
        script("train.py", "--model", options.model, "--dataset", options.dataset,
               "--output-dir", run, *training)  # fmt: skip
    made = {name: export(run, folder, name, how) for name, how in WAYS.items()}
    made |= {name: peer(run, folder, name, code) for name, code in PEERS.items()}
    held = json.loads(options.held.read_text(encoding="utf-8")) if options.held else None
    report(measure(run, made, held or bundled(options.dataset)))


def parsed():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?")
    parser.add_argument("dataset", nargs="?")
    parser.add_argument("--held", type=Path, help="rows to ask: JSON, as Alpaca's")
    parser.add_argument("--folder", type=Path, help="where run and exports are kept")
    parser.add_argument("--tweets", type=Path, metavar="FILE", help="make the data and stop")
    own = sys.argv[1:]
    place = own.index("--") if "--" in own else len(own)
    return parser.parse_args(own[:place]), own[place + 1 :]


def script(name: str, *args) -> None:
    subprocess.run([sys.executable, ROOT / name, *map(str, args)], check=True)


def export(run: Path, folder: Path, name: str, how: tuple) -> Path:
    target = folder / name
    if not target.exists():
        script("export.py", "--run", run, how[0], target, *how[1:], "--no-verify")
    return target


def peer(run: Path, folder: Path, name: str, code: str) -> Path | None:
    """The folder that a peer wrote; None, and why, when it did not."""
    from threetoe.backend import model as backend
    from threetoe.run import record

    target = folder / name
    if not target.exists():
        base = backend.locate(record.load(run)[1].options["model"])
        command = [sys.executable, "-c", code, base, run, target]
        done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
        if done.returncode:
            print(f"{name} did not run: {done.stderr.strip().splitlines()[-1]}")
    return target if list(target.glob("*.safetensors")) else None


def bundled(dataset: str) -> list[dict]:
    """The held-out rows of one of the bundled datasets."""
    (file,) = (ROOT / "datasets" / dataset).glob("test.*")
    lines = file.read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def measure(folder: Path, made: dict[str, Path | None], rows: list[dict]) -> dict[str, dict]:
    """By name, of the base, the run and what was made of it: what all() says."""
    import torch
    from peft import PeftModel

    from threetoe.export.merge.base_weights import as_used, base_weights
    from threetoe.export.verify.weights import Weights, load_whole
    from threetoe.options.export import ExportConfig
    from threetoe.run import contract, record

    folder, run = record.load(folder)
    questions = Questions(rows, run, contract.load_tokenizer(folder, run))
    config = ExportConfig(run=folder)
    base = base_weights(run, config)
    with torch.inference_mode():
        model = load_whole(base, Weights(base, as_used(run, config)))
        found = {"the base": questions.ask(model)}
        found["the run"] = questions.ask(PeftModel.from_pretrained(model, folder).eval())
        for name, path in made.items():
            if path:
                found[name] = questions.ask(loaded(path))
    wanted, base = found["the run"], found["the base"]
    effect = gap(wanted, base)
    for one in found.values():
        one["gap"] = gap(wanted, one)
        one["kept"] = 1 - one["gap"] / effect
        one["answers"] = sum(a == b for a, b in zip(wanted["said"], one["said"], strict=True))
        pairs = list(zip(wanted["logits"], one["logits"], strict=True))
        same = [a.argmax(-1) == b.argmax(-1) for a, b in pairs]
        one["tokens"] = sum(int(row.sum()) for row in same), sum(len(row) for row in same)
    return found


def loaded(path: Path):
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    return (model.dequantize() if getattr(model, "is_loaded_in_4bit", False) else model).float()


def gap(one: dict, other: dict) -> float:
    """Mean difference of two models' logits."""
    pairs = zip(one["logits"], other["logits"], strict=True)
    means = [float((a - b).abs().mean()) * len(a) for a, b in pairs]
    return sum(means) / sum(map(len, one["logits"]))


class Questions:
    """Held-out rows as a run's prompts."""

    def __init__(self, rows: list[dict], run, tokenizer):
        from threetoe.prompt.encode import encode, prompt_ids

        template, marks = run.the_template(), run.the_marks()
        self.tokenizer, self.stops = tokenizer, run.stop_ids
        self.labels = [row["output"] for row in rows]
        asked = [
            [{"role": "user", "content": row["instruction"], "input": row.get("input", "")}]
            for row in rows
        ]
        self.prompts = [prompt_ids(template.prompt(one, marks), tokenizer) for one in asked]
        whole = [
            template.pieces([*one, {"role": "assistant", "content": label}], marks)
            for one, label in zip(asked, self.labels, strict=True)
        ]
        self.texts = [row.input_ids for row in encode(whole[:ROWS], tokenizer, 10**6)]

    def ask(self, model) -> dict:
        """said: the greedy answers; right: how many are the label; logits of the last positions of
        prompt and label."""
        from threetoe.export.verify.reference import run

        said, logits = [], []
        for first in range(0, len(self.prompts), 16):
            said += self.answers(model, self.prompts[first : first + 16])
        for first in range(0, len(self.texts), 16):
            logits += [row[-COMPARED:] for row in run(model, self.texts[first : first + 16])]
        right = sum(a == b for a, b in zip(said, self.labels, strict=True))
        return {"said": said, "right": right, "logits": logits}

    def answers(self, model, prompts: list) -> list[str]:
        import torch

        width = max(map(len, prompts))
        ids = torch.tensor([[0] * (width - len(row)) + row for row in prompts])
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in prompts])
        made = model.generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=ANSWER, do_sample=False,
            eos_token_id=self.stops, pad_token_id=self.stops[0],
        )  # fmt: skip
        texts = self.tokenizer.batch_decode(made[:, width:], skip_special_tokens=True)
        return [text.strip() for text in texts]


def report(found: dict[str, dict]) -> None:
    asked = len(found["the run"]["said"])
    print(f"| {asked} held-out rows | right | same answer | same token | gap | effect kept |")
    print("|---|---|---|---|---|---|")
    for name, one in found.items():
        same, positions = one["tokens"]
        kept = f"{100 * max(0, one['kept']):.1f} %"
        figures = one["right"], one["answers"], f"{same} of {positions}", f"{one['gap']:.3g}", kept
        print(f"| {name} | {' | '.join(map(str, figures))} |")
    packages = ("torch", "transformers", "peft", "bitsandbytes", "unsloth")
    print(", ".join(f"{name} {version(name)}" for name in packages))


def write_tweets(target: Path) -> None:
    """Rated above 0.8 positive, below -0.8 negative; as many of each, in a fixed order."""
    with tempfile.TemporaryDirectory() as scratch:
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-build-isolation"]
        source = ["--no-binary", ":all:", "-d", scratch, "vaderSentiment==3.3.2"]
        subprocess.run([*pip, *source], check=True)
        (package,) = Path(scratch).glob("*.tar.gz")
        with tarfile.open(package) as outer:
            inner = outer.extractfile(next(n for n in outer.getnames() if "hutto" in n)).read()
    with tarfile.open(fileobj=BytesIO(inner)) as files:
        name = next(name for name in files.getnames() if name.endswith("tweets_GroundTruth.txt"))
        lines = files.extractfile(name).read().decode("utf-8", "replace").splitlines()
    kinds: dict[str, list] = {"positive": [], "neutral": [], "negative": []}
    for _, rating, text in (line.split("\t") for line in lines):
        high, low = float(rating) >= 0.8, float(rating) <= -0.8
        row = {"instruction": "Classify the sentiment of the tweet.", "input": html.unescape(text)}
        label = "positive" if high else "negative" if low else "neutral"
        kinds[label].append(row | {"output": label})
    order = random.Random(0)
    for rows in kinds.values():
        order.shuffle(rows)
    rows = [row for three in zip(*(rows[:830] for rows in kinds.values()), strict=True)
            for row in three]  # fmt: skip
    held, kept = rows[:252], rows[252:]
    order.shuffle(kept)
    for path, part in ((target, kept), (Path(f"{target}.held"), held)):
        path.write_text(json.dumps(part, ensure_ascii=False, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
