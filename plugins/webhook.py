"""Posts the loss and sample answers to Discord or Slack when a training ends; rows are in them.

THREETOE_WEBHOOK=https://... python train.py --dataset my.json --plugin plugins/webhook.py
The address is a secret, so it is no setting: settings are kept in run.json.
"""

import os
from dataclasses import dataclass

import httpx


@dataclass(frozen=True)
class Settings:
    samples: int = 3


def after_train(trainer, metrics, folder, settings):
    url = os.environ.get("THREETOE_WEBHOOK")
    if not url:
        return print("webhook: THREETOE_WEBHOOK is not set, so nothing was posted")
    lines = [f"{folder.name}: loss {metrics['train_loss']} after {metrics['steps']} steps"]
    rows = trainer.train_dataset.select(range(min(settings.samples, len(trainer.train_dataset))))
    text = "\n\n".join([*lines, *(_asked(row, trainer, folder) for row in rows)])[:1900]
    try:  # an error's text may hold the address
        answer = httpx.post(url, json={"content" if "discord" in url else "text": text}, timeout=10)
        print(f"webhook: answered {answer.status_code}")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        print(f"webhook: not posted ({type(error).__name__}); the run is saved")


def _asked(row, trainer, folder):
    from transformers import GenerationConfig

    model, tokenizer = trainer.model.eval(), trainer.processing_class
    end = next(place for place, label in enumerate(row["labels"]) if label >= 0)  # of the prompt
    given = tokenizer.pad([{"input_ids": row["input_ids"][:end]}], return_tensors="pt")
    how = GenerationConfig.from_pretrained(folder, max_new_tokens=40)
    ids = model.generate(**given.to(model.device), generation_config=how)[0]
    return tokenizer.decode(ids[:end])[-300:] + "\n> " + tokenizer.decode(ids[end:])
