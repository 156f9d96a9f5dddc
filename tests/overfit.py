"""Run by test_endings.py: trains 20 rows under a template, its new tokens added or left as text,
and prints how many answers end and how many are right, as JSON.
"""

import json
import sys
from pathlib import Path

from threetoe.backend import model as backend
from threetoe.infer import infer
from threetoe.options.infer import InferConfig
from threetoe.options.train import TrainConfig
from threetoe.prompt.encode import prompt_ids
from threetoe.train import train

WORDS = """
    red blue green black white small large hot cold wet dry old new fast slow thin thick loud
    quiet sweet
""".split()
ROWS = [{"prompt": f"Say {word}.", "completion": word} for word in WORDS]
LONGEST = 60  # tokens of an answer


def overfit(template: str, new_tokens: str) -> dict:
    """How many of the 20 answers end by themselves, and how many are right."""
    run = Path(f"{template}-{new_tokens}")
    train.train(
        TrainConfig(
            model="tiny", dataset="rows.jsonl", template=template, output_dir=run,
            max_steps=30, learning_rate=5e-3, per_device_train_batch_size=20,
            gradient_accumulation_steps=1, lr_scheduler_type="constant",
            load_in_4bit=False, new_tokens=new_tokens,
        )
    )  # fmt: skip
    job = infer.plan_inference(InferConfig(run=run, file="rows.jsonl", max_new_tokens=LONGEST))
    model = job.hooks.first("load_model", config=job.run.the_config(), adapter=job.folder)
    tokenizer = backend.load_tokenizer(job.folder)
    template, marks, stops = job.run.the_template(), job.run.the_marks(), job.run.stop_ids
    prompts = [prompt_ids(template.prompt(q.messages, marks), tokenizer) for q in job.questions]
    tokenizer.padding_side = "left"
    batch = tokenizer.pad({"input_ids": prompts}, return_tensors="pt")
    # no stop strings: the model has to end by itself
    output = model.generate(**batch, max_new_tokens=LONGEST, do_sample=False, eos_token_id=stops)
    answers = output[:, batch["input_ids"].shape[1] :].tolist()
    right = sum(
        tokenizer.decode(ids).strip().startswith(question.expected)
        for ids, question in zip(answers, job.questions, strict=True)
    )
    ended = sum(bool(set(ids) & set(stops)) for ids in answers)
    return {"ended": ended, "right": right}


if __name__ == "__main__":
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    print(json.dumps(overfit(*sys.argv[1:])))
