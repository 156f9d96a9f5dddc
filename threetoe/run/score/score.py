"""All figures of the answers of one model, by its own metrics and those of plugins."""

import math
from importlib.util import find_spec
from numbers import Integral, Real
from typing import NamedTuple

from threetoe.errors import PluginError, UserError
from threetoe.hooks.answers import kind
from threetoe.hooks.calls import Owned
from threetoe.run.score.chance import interval
from threetoe.run.score.labels import alike, confusion, labels_in, report
from threetoe.run.score.metrics import EXACT, METRICS, NEEDED, OF_LABELS, OF_TEXTS

SHARES = (EXACT, "accuracy")


class Scores(NamedTuple):
    """The figures of answers; `labels` and `confusion` are empty where they are no labels."""

    answers: int
    metrics: dict[str, float]
    labels: dict[str, dict]  # labels.report
    confusion: list[list[int]]  # labels.confusion

    @property
    def intervals(self) -> dict[str, tuple]:
        """The 95 % intervals of the metrics that are shares."""
        return {n: interval(self.metrics[n], self.answers) for n in SHARES if n in self.metrics}

    def as_dict(self) -> dict:
        told = {"answers": self.answers, "metrics": self.metrics, "intervals": self.intervals}
        return told | ({"labels": self.labels} if self.labels else {})


def check_packages(flag: str) -> None:
    """UserError where a package is missing that the figures of a flag need."""
    names = NEEDED | {"matplotlib": "matplotlib"}
    if missing := [name for module, name in names.items() if not find_spec(module)]:
        raise UserError(f'{flag} needs {", ".join(missing)}: pip install -e ".[score]".')


def score(
    functions: dict[str, Owned], answers: list[str], expected: list[str], full: bool = True,
    given: tuple[str, ...] = (),
) -> tuple[Scores, list[str]]:  # fmt: skip
    """The figures of the metrics, and what is wrong with those of plugins that failed. In full
    there are ours for labels, or for texts; `given` are labels that are known to be some."""
    names = labels_in(expected, given) if full else []
    left_out = {**OF_LABELS, **OF_TEXTS}.keys() - (
        full and (OF_LABELS if names else OF_TEXTS) or {}
    )
    ours = [name for name in METRICS if name in functions]
    figures, problems = {}, []
    for name in [*ours, *sorted(functions.keys() - METRICS)]:
        if name not in left_out:
            try:
                figures[name] = figure(name, functions[name], answers, expected)
            except PluginError as error:
                problems += error.problems
    if not names:
        return Scores(len(answers), figures, {}, []), problems
    tables = [make(answers, expected, names) for make in (report, confusion)]
    return Scores(len(answers), figures, *tables), problems


def figure(name: str, metric: Owned, answers: list, expected: list) -> float:
    """What a metric returns; PluginError unless that is a finite number."""
    function, plugin = metric
    what = f"the metric '{name}'"
    value = plugin.call(what, function, list(answers), list(expected))
    if isinstance(value, Real) and math.isfinite(value):
        return int(value) if isinstance(value, Integral) else float(value)
    given = value if isinstance(value, float) else kind(value)
    raise plugin.refuse(what, f"returned {given}, not a finite number", function)


def is_right(answer: str, expected: str, scores: Scores) -> bool:
    """Whether an answer is the expected label; of texts, whether it is the same."""
    return alike(answer) == alike(expected) if scores.labels else answer == expected
