"""Builds the trainer that learns prepared rows, padded or packed, and measures on others.

Imports no library at its head: unsloth, which comes first, is loaded by then.
"""

import math
from contextlib import contextmanager
from pathlib import Path

from threetoe.errors import Failure, UserError
from threetoe.machine.libraries import chatter_hidden
from threetoe.machine.records import read_lines
from threetoe.machine.space import peak_memory
from threetoe.machine.terminal import say
from threetoe.run.record import METRICS
from threetoe.train.batches import COLUMNS, collator, packed

NO_VALIDATION = {"eval_strategy": "no", "eval_on_start": False}


def build_trainer(
    model, tokenizer, rows, arguments: dict, callbacks: dict, validation=None, eval_rows=None
):
    """TRL's SFTTrainer over ready ids and labels.

    `rows` and `validation`, which may be None, are datasets.Datasets with the columns input_ids,
    labels and length. Batches are padded to their longest row, or packed where `arguments` say so.
    Between both ends of the training `eval_rows` are measured, or as many as Validation takes.
    """
    from transformers import PrinterCallback
    from trl import SFTConfig

    from threetoe.train.sft_trainer import Learner

    if validation is None:
        arguments = {**arguments, **NO_VALIDATION}
    trained = {name: p.data for name, p in model.named_parameters() if p.requires_grad}
    with chatter_hidden(), untrained_tokens_named():
        trainer = Learner(
            model=model,
            args=SFTConfig(**arguments),
            train_dataset=rows.with_format(columns=COLUMNS),
            eval_dataset=validation,
            processing_class=tokenizer,
            # where packing is asked for, TRL's own: Unsloth packs nothing for any other
            data_collator=None
            if arguments["packing"]
            else collator(tokenizer, arguments["max_length"]),
            callbacks=list(callbacks.values()),
        )
    for name, data in trained.items():
        model.get_parameter(name).data = data  # TRL casts QLoRA to bf16: steps of 2e-4 round away
    trainer.remove_callback(PrinterCallback)
    if validation is not None:
        trainer.measure(eval_rows, arguments.get("eval_steps"))
    if arguments["packing"]:
        pack_or_pad(trainer, rows, tokenizer)
    return trainer


def pack_or_pad(trainer, rows, tokenizer) -> None:
    """Gives the trainer packed rows, unless Unsloth has turned packing off for this model: with
    batches that are padded, packed examples would see each other."""
    if trainer.args.packing:
        trainer.train_dataset = packed(rows, trainer.args.max_length)
        return
    kind = trainer.model.config.get_text_config().model_type
    say(f"packing: Unsloth does not pack {kind} here; padded rows are trained")
    trainer.data_collator = collator(tokenizer, trainer.args.max_length)
    trainer.args.train_sampling_strategy = "group_by_length"


@contextmanager
def untrained_tokens_named():
    """Unsloth refuses rows with tokens that the base never learned; say what mends that."""
    try:
        yield
    except ValueError as error:
        if "ntrained tokens" not in str(error):
            raise
        raise UserError(
            "The template uses tokens that this base model has never learned. Train them with "
            "--new-tokens add, or choose an Instruct model with --model, or a template in plain "
            "text such as --template alpaca."
        ) from error


def collect_metrics(result, saving, hooks, folder: Path) -> dict:
    """What run.json says of the training; Failure when it went astray."""
    if not math.isfinite(result.training_loss):
        raise Failure(
            f"The loss became {result.training_loss}, so nothing was saved; lower --learning-rate."
        )
    metrics = {"seconds": round(saving.seconds, 1), "steps": result.global_step}
    metrics |= {"peak_memory": peak_memory(), "train_loss": round(result.training_loss, 4)}
    metrics |= saving.figures()
    metrics |= tokens_in(folder) | validation_metrics(folder, metrics.get("saved_step"))
    return metrics | ({"plugin_seconds": hooks.seconds()} if hooks.theirs() else {})


def tokens_in(folder: Path) -> dict:
    counts = [line["num_tokens"] for line in read_lines(folder / METRICS) if "num_tokens" in line]
    return {"tokens": round(counts[-1])} if counts else {}  # TRL counts them


def validation_metrics(folder: Path, saved_step: int | None = None) -> dict:
    """What run.json says of the validation losses in a run's metrics.jsonl; {} without any. The
    last is that of the adapter that is saved; both ends are of the same rows."""
    lines = read_lines(folder / METRICS)
    measured = [entry for entry in lines if entry.get("eval_loss") is not None]
    if not measured:
        return {}
    best = min(measured, key=comparable_loss)
    last = next((e for e in measured if e["step"] == saved_step), measured[-1])
    same = measured[0]["eval_rows"] == last["eval_rows"]
    ends = [e["eval_loss"] if same else comparable_loss(e) for e in (measured[0], last)]
    return {
        "eval_loss_start": round(ends[0], 4),
        "eval_loss": round(ends[1], 4),
        "eval_rows": last["eval_rows"],
        "eval_loss_best": round(comparable_loss(best), 4),
        "eval_loss_best_step": best["step"],
        "eval_loss_best_rows": best["eval_rows"],
    }


def comparable_loss(entry: dict) -> float:
    """The loss of the rows that are measured every time: all, or the sample."""
    return entry.get("eval_sample_loss", entry["eval_loss"])


def validation_line(metrics: dict) -> str:
    """'2.31 -> 0.42 (500 rows)', and its lowest where that is not at an end."""
    rows = metrics["eval_rows"]
    line = f"{metrics['eval_loss_start']:.4f} -> {metrics['eval_loss']:.4f}"
    step, lowest = metrics["eval_loss_best_step"], f"{metrics['eval_loss_best']:.4f}"
    if step in (0, metrics.get("saved_step", metrics["steps"])):
        return f"{line} ({rows} rows)"
    sample = metrics["eval_loss_best_rows"]
    of_them = f" of {sample} of them" * (sample != rows)
    return f"{line} ({rows} rows; lowest{of_them} {lowest} at step {step})"
