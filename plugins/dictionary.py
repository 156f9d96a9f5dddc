"""Replaces words by those of a dictionary, in training data and in questions alike.

python train.py --dataset my.json --plugin plugins/dictionary.py --set words=words.csv
words.csv holds two columns, without a header: the word, and what stands for it.
"""

import csv
import re
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from threetoe.api import UserError, reading


@dataclass(frozen=True)
class Settings:
    words: str = "words.csv"


def map_messages(messages, settings):
    swapped = _swap(settings.words)
    return [{k: v if k == "role" else swapped(v) for k, v in m.items()} for m in messages]


def map_request(messages, settings):
    return map_messages(messages, settings)


@cache
def _swap(path):
    with reading(Path(path)):
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    rows = [row for row in csv.reader(lines) if row]
    if not rows or any(len(row) != 2 for row in rows):
        raise UserError(f"{path}: a line of a dictionary is a word, a comma, and another word.")
    words = {word.lower(): other for word, other in rows}
    forms = [rf"\b{re.escape(w)}\b" if w.isascii() else re.escape(w) for w in words]
    pattern = re.compile("|".join(sorted(forms, key=len, reverse=True)), re.IGNORECASE)
    return partial(pattern.sub, lambda found: words[found[0].lower()])
