"""TRL's trainer with an order by length, and a validation loss that is exact and disturbs nothing.

transformers' own evaluation averages the means of batches, so it changes with the batch size, and
its loader draws a random number, so the training that follows would be another one.
"""

from pathlib import Path

import torch
from trl import SFTTrainer

from threetoe.prompt.encode import IGNORED
from threetoe.train.batches import COLUMNS, InOrder, by_length, collator, lengths_of, shuffled
from threetoe.train.durable.contents import load_trained
from threetoe.train.durable.out_of_memory import MicroBatches, free_memory, out_of_memory
from threetoe.train.watch.validation import EVAL_ROWS, Validation

ORDERS = {"group_by_length": by_length, "random": shuffled}


class Learner(SFTTrainer):
    """What build_trainer returns."""

    saving = None  # a Saving, once the run folder is there
    validation = None  # a Validation, where there are rows for it
    answers = None  # an Answers, where --metrics asks for them

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.micro_batches = MicroBatches()
        if self.args.device.type == "cpu":  # cpu:0 for several processes, which torch.load lacks
            vars(self.args)["_setup_devices"] = torch.device("cpu")

    def get_batch_samples(self, *args, **kwargs):
        self.micro_batches.begin()
        if self.saving:
            self.saving.begin_step(self)
        return super().get_batch_samples(*args, **kwargs)

    def training_step(self, model, inputs, num_items_in_batch=None):
        learn, step = super().training_step, self.state.global_step + 1
        return self.micro_batches.learn(learn, model, inputs, num_items_in_batch, step)

    def _get_train_sampler(self, train_dataset=None):
        strategy, rows = self.args.train_sampling_strategy, self.train_dataset
        if strategy not in ORDERS:
            return super()._get_train_sampler(train_dataset)
        # transformers' own grouping reads a row for every comparison, and goes from long to short
        # again and again; its random order is that of a process, not of an epoch
        size = self.args.train_batch_size * self.args.gradient_accumulation_steps
        size *= self.args.world_size
        lengths = lengths_of(rows) if strategy == "group_by_length" else range(len(rows))
        return InOrder(ORDERS[strategy], lengths, size, self.args.seed)

    def _save_checkpoint(self, model, trial=None):
        """As transformers does, but whole, proven, and no more than --save-total-limit of them."""
        self.saving.save(self)

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        load_trained(self.model, Path(resume_from_checkpoint))

    def measure(self, eval_rows: int | None, every: int | None) -> None:
        """Have these many validation rows measured every so many steps; None: what is usual."""
        self.validation = Validation(self, eval_rows or EVAL_ROWS, every)
        self.add_callback(self.validation)

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix="eval"):
        """What Validation measures, or the loss of other rows; logged, and told to callbacks."""
        learning = self.model.training
        self.model.eval()
        with torch.no_grad(), self.compute_loss_context_manager():
            if eval_dataset is None:
                metrics = self.validation.measure()
            else:
                total, learned = self.sum_losses(eval_dataset)
                metrics = {f"{metric_key_prefix}_loss": total / learned}
        if self.answers and eval_dataset is None:
            step, folder = self.state.global_step, Path(self.args.output_dir)
            metrics |= self.answers.measure(self.model, step, folder)
        self.log(metrics)
        self.model.train(learning)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    def sum_losses(self, rows) -> tuple[float, int]:
        """(nats, learned tokens) by the loss of training, longest rows first: a lack of memory
        shows at once. Each of several processes measures all: TRL's loss waits for the others."""
        collate = collator(self.processing_class, self.args.max_length)
        size = self.args.eval_batch_size
        order = (-lengths_of(rows)).argsort(kind="stable").tolist()
        rows, total, learned = rows.with_format(columns=COLUMNS), 0.0, 0
        while order:
            batch = collate([rows[index] for index in order[:size]])
            batch = self._prepare_inputs(batch)
            count = (batch["labels"][:, 1:] != IGNORED).sum()
            try:
                loss = self.compute_loss(self.model, batch, num_items_in_batch=count)
            except torch.OutOfMemoryError as error:
                if size == 1:
                    raise out_of_memory("validation", self.state.global_step) from error
                size = -(-size // 2)
                free_memory()
                continue
            order = order[size:]
            nats = loss.item() / self.args.world_size * count.item()  # it is scaled for a mean
            total, learned = total + nats, learned + count.item()
            self.callback_handler.on_prediction_step(self.args, self.state, self.control)
        return total, learned
