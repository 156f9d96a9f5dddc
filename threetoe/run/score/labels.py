"""Answers that are labels: which one an answer is, and how often one is taken for another."""

import unicodedata
from collections import Counter, defaultdict

MOST, LONGEST = 250, 60  # labels, and letters of one: expected texts beyond are no small set


def alike(text: str) -> str:
    """A text as it is compared with a label: neither case nor white space makes a difference."""
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


def labels_in(expected: list[str], given: tuple[str, ...] = ()) -> list[str]:
    """The labels that texts are, then the `given` ones that are not among them. None where texts
    are long, or are not labels: on average each is there less than twice, and none are given."""
    names = spellings_of(expected)
    few = len(names) <= MOST and max(map(len, names), default=0) <= LONGEST
    if not few or not given and 2 * len(names) > len(expected):
        return []
    known = set(map(alike, names))
    return names + [name for name in given if alike(name) not in known]


def spellings_of(expected: list[str]) -> list[str]:
    """Texts that are not alike, each in its commonest spelling, the most frequent first."""
    found = defaultdict(Counter)
    for text in expected:
        found[alike(text)][text.strip()] += 1
    ranked = sorted(found.values(), key=lambda counts: (-counts.total(), min(counts)))
    return [min(counts, key=lambda text: (-counts[text], text)) for counts in ranked]


def report(answers: list[str], expected: list[str], names: list[str]) -> dict[str, dict]:
    """{label: {"precision", "recall", "f1", "rows"}}; 0 where nothing is there to be divided by."""
    from sklearn.metrics import precision_recall_fscore_support

    figures = precision_recall_fscore_support(
        *placed(answers, expected, names), labels=range(len(names)), zero_division=0
    )
    rows = zip(*(column.tolist() for column in figures), strict=True)
    told = ("precision", "recall", "f1", "rows")
    made = [dict(zip(told, row, strict=True)) for row in rows]
    return {n: row | {"rows": int(row["rows"])} for n, row in zip(names, made, strict=True)}


def confusion(answers: list[str], expected: list[str], names: list[str]) -> list[list[int]]:
    """How often a label (a line each) was answered with each; last, with something else."""
    from sklearn.metrics import confusion_matrix

    places = range(len(names) + 1)
    return confusion_matrix(*placed(answers, expected, names), labels=places)[:-1].tolist()


def placed(answers: list[str], expected: list[str], names: list[str]) -> tuple[list, list]:
    """The numbers of the expected labels, and of the answered ones; one more for what is none."""
    places = {alike(name): number for number, name in enumerate(names)}
    return tuple(
        [places.get(alike(text), len(names)) for text in texts] for texts in (expected, answers)
    )
