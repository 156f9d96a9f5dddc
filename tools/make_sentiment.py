"""Write datasets/sentiment: short English and Chinese texts and their mood, from our word lists."""

import json
import random
from pathlib import Path

from words import OPENERS, OPINIONS, TAILS, TOPICS

SEED = 20
FOLDER = Path(__file__).resolve().parent.parent / "datasets" / "sentiment"
PER_LABEL = {"test": 30, "train": 150}

INSTRUCTION = {"en": "Classify the sentiment of the text.", "zh": "分类以下文本的情感。"}
LABELS = {
    "en": {"good": "Positive", "plain": "Neutral", "bad": "Negative"},
    "zh": {"good": "积极", "plain": "中性", "bad": "消极"},
}


def capital(text):
    """Return the text with its first letter, and no other, in upper case."""
    return text[0].upper() + text[1:]


def english(subject, mood, rng):
    """Return an English sentence about a topic in a mood."""
    thing = rng.choice(subject["things"])
    if rng.random() < 0.3:
        return capital(rng.choice(OPINIONS["en"][mood]).replace("{thing}", thing))
    said = f"{thing} {rng.choice(subject[mood])}"
    shape = rng.random()
    if shape < 0.3:
        opener = rng.choice(OPENERS["en"][mood])
        said = f"{opener} {said}" if opener.endswith("that") else f"{opener}, {said}"
    elif shape < 0.5:
        said = f"{said}, {rng.choice(TAILS['en'][mood])}"
    return capital(said) + "."


def chinese(subject, mood, rng):
    """Return a Chinese sentence about a topic in a mood."""
    thing = rng.choice(subject["things"])
    if rng.random() < 0.3:
        return rng.choice(OPINIONS["zh"][mood]).replace("{thing}", thing)
    said = f"{thing}{rng.choice(subject[mood])}"
    shape = rng.random()
    if shape < 0.3:
        said = f"{rng.choice(OPENERS['zh'][mood])}，{said}"
    elif shape < 0.5:
        said = f"{said}，{rng.choice(TAILS['zh'][mood])}"
    return said + "。"


SENTENCE = {"en": english, "zh": chinese}


def bare(text):
    """Return what two sentences are compared by: no case, no final stop."""
    return text.casefold().strip(".!。！")


def overlaps(text, others):
    """Return whether a sentence contains, or is contained in, one of the others."""
    return any(bare(text) in bare(other) or bare(other) in bare(text) for other in others)


def new_sentence(language, mood, rng, taken):
    """Return a sentence that neither contains a taken one nor is part of one."""
    while True:
        text = SENTENCE[language](rng.choice(TOPICS[language]), mood, rng)
        if not overlaps(text, taken):
            return text


def make_rows(per_label, rng, taken):
    """Return shuffled Alpaca rows, as many of each label as asked; `taken` grows by their texts."""
    rows = []
    for language, labels in LABELS.items():
        for mood, label in labels.items():
            for _ in range(per_label):
                text = new_sentence(language, mood, rng, taken)
                taken.add(text)
                rows.append({"instruction": INSTRUCTION[language], "input": text, "output": label})
    rng.shuffle(rows)
    return rows


def main():
    """Write both files, the test rows drawn first so that none of them returns in training."""
    rng, taken = random.Random(SEED), set()
    FOLDER.mkdir(parents=True, exist_ok=True)
    for split, per_label in PER_LABEL.items():
        rows = make_rows(per_label, rng, taken)
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        (FOLDER / f"{split}.jsonl").write_text("".join(lines), encoding="utf-8", newline="\n")
        print(f"{split}: {len(rows)} rows")


if __name__ == "__main__":
    main()
