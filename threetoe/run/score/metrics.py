"""The figures that come with Threetoe: functions of answers and expected texts, as plugins have."""

import re

from threetoe.run.score.labels import alike, report, spellings_of

EXACT = "exact"


def exact(answers: list[str], expected: list[str]) -> float:
    """The share of answers that equal the expected text."""
    return sum(a == e for a, e in zip(answers, expected, strict=True)) / len(answers)


def accuracy(answers: list[str], expected: list[str]) -> float:
    """The share of answers that are the expected label, whatever their case and white space."""
    return exact(list(map(alike, answers)), list(map(alike, expected)))


def macro_f1(answers: list[str], expected: list[str]) -> float:
    """The mean over the expected labels of their F1: a rare one weighs as much as a frequent."""
    told = report(answers, expected, spellings_of(expected)).values()
    return sum(row["f1"] for row in told) / len(told)


def chrf(answers: list[str], expected: list[str]) -> float:
    """chrF of the whole, 0 to 100: runs of letters that are shared; aclanthology.org/W15-3049."""
    from sacrebleu.metrics import CHRF

    return CHRF().corpus_score(answers, [expected]).score


def rouge_l(answers: list[str], expected: list[str]) -> float:
    """The mean F of ROUGE-L, 0 to 100: the longest sequence of words that is shared;
    aclanthology.org/W04-1013."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"], tokenizer=Words())
    pairs = zip(expected, answers, strict=True)
    return 100 * sum(scorer.score(*pair)["rougeL"].fmeasure for pair in pairs) / len(answers)


class Words:
    """How ROUGE-L has a text: its words in any script, where the package's own knows a to z alone;
    letters of scripts that set no spaces each stand for themselves."""

    LETTER = (
        "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\U00020000-\U0003ffff"
    )
    WORD = re.compile(rf"[{LETTER}]|[^\W{LETTER}]+")

    def tokenize(self, text: str) -> list[str]:
        return self.WORD.findall(text.casefold())


OF_LABELS = {"accuracy": accuracy, "macro_f1": macro_f1}
OF_TEXTS = {"chrf": chrf, "rouge_l": rouge_l}
METRICS = {EXACT: exact, **OF_LABELS, **OF_TEXTS}
NEEDED = {"sklearn": "scikit-learn", "sacrebleu": "sacrebleu", "rouge_score": "rouge-score"}
