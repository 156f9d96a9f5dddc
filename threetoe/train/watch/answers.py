"""--metrics: the answers to validation rows, with the figures that infer.py --evaluate has."""

import json
from pathlib import Path

from numpy.random import default_rng
from transformers import TrainerCallback

from threetoe.machine.processes import is_first
from threetoe.machine.terminal import say, show_progress
from threetoe.run.record import SCORES
from threetoe.run.score.score import score
from threetoe.train.watch.asking import ask, undisturbed
from threetoe.train.watch.validation import EVAL_ROWS

TOKENS = 128  # of an answer, at most


class Answers(TrainerCallback):
    """Answers the same --eval-rows rows each time that the validation loss is measured."""

    def __init__(self, config):
        self.config, self.count = config, config.eval_rows or EVAL_ROWS

    def take(self, hooks, rows, prompting) -> None:
        self.functions = hooks.owned("register_metrics", config=self.config)
        self.prompting, indices = prompting, rows.validated
        if self.count < len(indices):
            indices = default_rng(self.config.seed).choice(indices, self.count, replace=False)
        numbers = set(rows.validation.numbers[indices].tolist())
        found = (c.messages for c in rows.validation.conversations.chosen(numbers))
        self.rows = [m for m in found if isinstance(m, list) and m[-1]["role"] == "assistant"]

    def measure(self, model, step: int, folder: Path) -> dict[str, float]:
        """{"eval_accuracy": 0.9}; with the tables, a line of scores.jsonl."""
        if not self.rows:
            return {}
        show_progress(f"answering {len(self.rows)} validation rows")
        asked, expected = zip(*((m[:-1], m[-1]["content"]) for m in self.rows), strict=True)
        with undisturbed(model, self.prompting.tokenizer):
            replies = ask(model, self.prompting, asked, TOKENS)
        answers = [reply.text for reply in replies]
        scores, problems = score(self.functions, answers, list(expected))
        for problem in problems:
            say(problem)
        if is_first():
            told = {"step": step, **scores._asdict()}
            with (folder / SCORES).open("a", encoding="utf-8") as file:
                file.write(json.dumps(told, ensure_ascii=False) + "\n")
        return {f"eval_{name}": value for name, value in scores.metrics.items()}
