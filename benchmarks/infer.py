"""Measures answers a second of infer.py --file beside transformers' generate in file order:

    python benchmarks/infer.py [--model DIR] [--rows 200] [--tokens 64] [--rounds 3] [--fp32]

Both ask the same prompts of the same model in one process, by turns; transformers in the order of
the file in batches of 8, as a loop around `generate` does. The answers are compared.
"""

import argparse
import platform
import random
import statistics
import sys
import time
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from threetoe.backend.reply import Reply, frame_of  # noqa: E402
from threetoe.infer import conversation  # noqa: E402
from threetoe.infer import infer as flow  # noqa: E402
from threetoe.infer.questions import Question  # noqa: E402
from threetoe.options.infer import InferConfig  # noqa: E402

BATCH = 8


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--model", type=Path, default=ROOT / "models" / "tiny")
    for name, number in (("rows", 200), ("tokens", 64), ("rounds", 3)):
        options.add_argument(f"--{name}", type=int, default=number)
    options.add_argument("--fp32", action="store_true", help="where rounding changes no answer")
    given = options.parse_args()
    config = InferConfig(run=given.model, template="alpaca", max_new_tokens=given.tokens, web=True)
    job, model, tokenizer, _ = conversation.load(config)
    model = model.float() if given.fp32 else model
    job = job._replace(questions=questions(given.rows))
    job, prompts = flow.encode_questions(job, tokenizer)
    ways = {"transformers": lambda: in_file_order(job, model, tokenizer, prompts),
            "threetoe": lambda: ours(job, model, tokenizer, prompts)}  # fmt: skip
    seconds, texts = {name: [] for name in ways}, {}
    for _ in range(given.rounds):
        for name, ask in ways.items():
            began = time.perf_counter()
            texts[name] = ask()
            seconds[name].append(time.perf_counter() - began)
    report(given, model, prompts, seconds, texts)


def questions(count: int) -> list[Question]:
    """Mixed ones: a few words to some hundred, cut from the README, in a random order."""
    chance = random.Random(0)
    words = (ROOT / "README.md").read_text(encoding="utf-8").split()
    texts = []
    for _ in range(count):
        length = min(300, max(2, int(chance.lognormvariate(3, 1))))
        first = chance.randrange(len(words) - length)
        texts.append(" ".join(words[first : first + length]))
    asked = [Question([{"role": "user", "content": text}], None) for text in texts]
    return [question._replace(number=number) for number, question in enumerate(asked)]


def ours(job, model, tokenizer, prompts: list[list[int]]) -> list[str]:
    answers = flow.answer(job, model, tokenizer, prompts)
    return [given.text for given in sorted(answers, key=lambda given: given.question.number)]


def in_file_order(job, model, tokenizer, prompts: list[list[int]]) -> list[str]:
    import torch

    tokenizer.padding_side, texts = "left", []
    for first in range(0, len(prompts), BATCH):
        batch = tokenizer.pad({"input_ids": prompts[first : first + BATCH]}, return_tensors="pt")
        with torch.inference_mode():
            made = model.generate(
                **batch, max_new_tokens=job.config.max_new_tokens, do_sample=False,
                eos_token_id=job.run.stop_ids, pad_token_id=tokenizer.pad_token_id,
                temperature=None, top_p=None, top_k=None,
            )  # fmt: skip
        texts += made[:, batch["input_ids"].shape[1] :].tolist()
    return [text_of(ids, job, tokenizer) for ids in texts]


def text_of(ids: list[int], job, tokenizer) -> str:
    """What infer.py makes of an answer's ids."""
    reply = Reply(
        tokenizer, frame_of(job.run.the_template(), job.run.the_marks(), job.run.stop_ids)
    )
    for token in ids:
        reply.add(token)
    reply.close(len(ids))
    return reply.text


def report(given, model, prompts, seconds: dict, texts: dict) -> None:
    lengths = sorted(map(len, prompts))
    ratios = [a / b for a, b in zip(seconds["transformers"], seconds["threetoe"], strict=True)]
    same = sum(a == b for a, b in zip(*texts.values(), strict=True))
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers"))
    print(f"Python {platform.python_version()}, {libraries}, {model.dtype}")
    print(f"{given.rows} prompts of {lengths[0]} to {lengths[-1]} tokens, "
          f"median {lengths[len(lengths) // 2]}, answers of at most {given.tokens}")  # fmt: skip
    for name, found in seconds.items():
        print(f"{name}: {given.rows / statistics.median(found):.1f} answers a second")
    print(f"ratio: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    print(f"the same answers: {same} of {given.rows}")


if __name__ == "__main__":
    main()
