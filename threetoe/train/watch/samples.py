"""Answers from the same few prompts as the training goes on; samples.jsonl keeps them."""

import json
from pathlib import Path

from transformers import TrainerCallback

from threetoe.data.ledger import short_label
from threetoe.errors import first_line
from threetoe.machine.terminal import say, show_progress
from threetoe.run.record import SAMPLES
from threetoe.train.prepare import Prompting
from threetoe.train.row_sets import RowSets
from threetoe.train.watch.asking import ask, question_in, text_of, undisturbed
from threetoe.train.watch.prompts import read_prompts, rows_to_ask

TOKENS, SHOWN = 128, 64  # of an answer, at most; letters of a line


class Samples(TrainerCallback):
    """Asks before the first step, where the base answers, every so many, and after the last."""

    def __init__(self, config):
        self.every, self.file = config.sample_steps, config.sample_prompts
        self.failed = False

    def take(self, hooks, rows: RowSets, prompting: Prompting) -> None:
        self.prompting = prompting
        self.asked = read_prompts(self.file) if self.file else rows_to_ask(rows)

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        if state.global_step == 0:
            self.ask(args, 0, model)

    def on_step_end(self, args, state, control, model=None, **kwargs):
        if state.global_step % self.every == 0 or state.global_step == state.max_steps:
            self.ask(args, state.global_step, model)

    def ask(self, args, step: int, model) -> None:
        """One line of samples.jsonl a prompt; what goes wrong is said once, and ends nothing."""
        if self.failed or not self.asked:
            return
        show_progress("asking for samples")
        prompts = [prompt["asked"] for prompt in self.asked]
        try:
            with undisturbed(model, self.prompting.tokenizer):
                replies = ask(model, self.prompting, prompts, TOKENS, adapter=step > 0)
        except Exception as error:  # memory, or what a library makes of a question
            self.failed = True
            return say(f"no more samples: {first_line(error)}; the training goes on")
        ended = sum(not reply.cut for reply in replies)
        who = "the base" if step == 0 else f"step {step}"
        say(f"{who}: {ended} of {len(replies)} answers ended by themselves")
        note(Path(args.output_dir, SAMPLES), step, self.asked, replies)
        for prompt, reply in zip(self.asked, replies, strict=True):
            say(f"  asked   {short_label(question_in(prompt['asked']), SHOWN)}")
            say(f"  answer  {short_label(text_of(reply), SHOWN)}")


def note(path: Path, step: int, asked: list[dict], replies: list) -> None:
    """Add a line a prompt to samples.jsonl."""
    with path.open("a", encoding="utf-8") as file:
        for prompt, reply in zip(asked, replies, strict=True):
            said = {"step": step, **prompt, "answer": reply.text, "ended": not reply.cut}
            file.write(json.dumps(said, ensure_ascii=False) + "\n")
