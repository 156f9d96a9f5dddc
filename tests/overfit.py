"""Run by test_endings.py: trains 20 rows under every template and counts answers that end.

One process, because importing Unsloth takes longer than a run. Prints a line of JSON a template.
"""

import json
import sys
from pathlib import Path

from threetoe import backend, catalog, infer, train
from threetoe.config import InferConfig, TrainConfig
from threetoe.encode import prompt_ids

WORDS = """
    red blue green black white small large hot cold wet dry old new fast slow thin thick loud
    quiet sweet
""".split()
ROWS = [{"prompt": f"Say {word}.", "completion": word} for word in WORDS]
LONGEST = 60  # tokens; an answer that does not end by itself has as many


def overfit(template: str) -> dict:
    """How many of the 20 answers end by themselves, and how many are right."""
    train.train(
        TrainConfig(
            model="tiny", dataset="rows.jsonl", template=template, output_dir=Path(template),
            max_steps=40, learning_rate=5e-3, per_device_train_batch_size=20,
            gradient_accumulation_steps=1, warmup_steps=2, lr_scheduler_type="constant",
            load_in_4bit=False,
        )
    )  # fmt: skip
    job = infer.plan(InferConfig(run=Path(template), file="rows.jsonl", max_new_tokens=LONGEST))
    job.hooks.config = job.run.the_config()
    model = job.hooks.first("load_model", adapter=job.folder)
    tokenizer = backend.load_tokenizer(job.folder)
    marks = job.run.the_marks()
    prompts = [
        prompt_ids(job.run.the_template().prompt(q.messages, marks), tokenizer)
        for q in job.questions
    ]
    # no stop strings: the model has to end by itself
    found = list(backend.generate(model, tokenizer, prompts, job.run.stop_ids, [], job.config))
    right = sum(
        tokenizer.decode(ids).strip().startswith(job.questions[index].expected)
        for index, ids in found
    )
    return {"template": template, "ended": sum(len(i) < LONGEST for _, i in found), "right": right}


if __name__ == "__main__":
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    for name in sys.argv[1:] or catalog.named_files("templates"):
        print(json.dumps(overfit(name)), flush=True)
