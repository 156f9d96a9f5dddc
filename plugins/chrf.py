"""The metric chrF: how many runs of characters answers and expected texts share, from 0 to 1.

python infer.py --file my.json --plugin plugins/chrf.py
It sees near misses that `exact` does not, in any script; aclanthology.org/W15-3049, beta 2.
"""

from collections import Counter

LONGEST, BETA = 6, 2.0


def register_metrics():
    return {"chrf": _chrf}


def _chrf(answers, expected):
    precisions, recalls = [], []
    for length in range(1, LONGEST + 1):
        given = [_runs(text, length) for text in answers]
        wanted = [_runs(text, length) for text in expected]
        shared = sum((g & w).total() for g, w in zip(given, wanted, strict=True))
        if any(given) and any(wanted):
            precisions.append(shared / sum(g.total() for g in given))
            recalls.append(shared / sum(w.total() for w in wanted))
    if not any(precisions):
        return 0.0
    precision, recall = sum(precisions) / len(precisions), sum(recalls) / len(recalls)
    return (1 + BETA**2) * precision * recall / (BETA**2 * precision + recall)


def _runs(text, length):
    text = "".join(text.split())
    return Counter(text[start : start + length] for start in range(len(text) - length + 1))
