"""Keeps history.jsonl beside the runs: a line for every training and every export.

python train.py --dataset my.json --plugin plugins/history.py
"""

import json
from datetime import UTC, datetime


def after_train(metrics, folder, config):
    _append(folder, {"trained": folder.name, "dataset": config.dataset, **metrics})


def after_export(format, folder):
    _append(folder, {"exported": folder.name, "format": format})


def _append(folder, entry):
    entry = {"at": datetime.now(UTC).isoformat(timespec="seconds"), **entry}
    with (folder.parent / "history.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")
