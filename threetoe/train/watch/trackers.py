"""--report-to: where losses go beside metrics.jsonl, through transformers' own integrations."""

import os
from functools import partialmethod

from transformers import TrainerCallback
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

from threetoe.errors import first_line
from threetoe.machine.terminal import say
from threetoe.train.durable.moment import generators, put_generators
from threetoe.train.watch.callbacks import EVENTS


class Tracker(TrainerCallback):
    """One of transformers' callbacks. What it raises is said once, and then it is told no more; the
    random numbers that it draws are not those of the training."""

    def __init__(self, name: str):
        self.name, self.theirs, self.failed = name, None, False

    def tell(self, args, state, control, *, event: str, **more) -> None:
        if self.failed:
            return
        os.environ.setdefault("WANDB_DIR", args.output_dir)  # and not the current folder
        before = generators()
        try:
            self.theirs = self.theirs or INTEGRATION_TO_CALLBACK[self.name]()
            getattr(self.theirs, event)(args, state, control, **more)
        except (Exception, SystemExit) as error:
            self.failed = True
            say(f"--report-to {self.name}: {first_line(error)}; the training goes on without it")
        finally:
            put_generators(before)


for name in EVENTS:
    setattr(Tracker, name, partialmethod(Tracker.tell, event=name))
