"""Replaces words by those of a dictionary, in training data and in questions alike.

python train.py --dataset my.json --plugin plugins/dictionary.py --set words=words.csv
words.csv holds two columns, without a header: the word, and what stands for it.
"""

import csv
import re
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from threetoe.errors import UserError, reading


@dataclass(frozen=True)
class Settings:
    words: str = "words.csv"


def map_messages(messages, settings):
    pattern, words = _read(settings.words)
    swapped = partial(pattern.sub, lambda found: words[found[0].lower()])
    return [{k: v if k == "role" else swapped(v) for k, v in m.items()} for m in messages]


def map_request(messages, settings):
    return map_messages(messages, settings)


@cache
def _read(path):
    with reading(Path(path)):
        text = Path(path).read_text(encoding="utf-8-sig")
    rows = [row for row in csv.reader(text.splitlines()) if row]
    if not rows or any(len(row) != 2 for row in rows):
        raise UserError(f"{path}: a line of a dictionary is a word, a comma, and another word.")
    words = {word.lower(): other for word, other in rows}
    longest_first = sorted(map(re.escape, words), key=len, reverse=True)
    forms = (rf"\b{word}\b" if word.isascii() else word for word in longest_first)
    return re.compile("|".join(forms), re.IGNORECASE), words
