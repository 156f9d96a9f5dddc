"""What the project ships, registered through the same hooks that plugins use."""

from threetoe.backend import model
from threetoe.data.formats import FORMATS
from threetoe.data.sources.source import Source, read_source
from threetoe.machine.files import named_files
from threetoe.machine.processes import is_first
from threetoe.run.score import metrics
from threetoe.train import trainer


def register_templates(config):
    return named_files("templates")


def register_datasets(config):
    return named_files("datasets")


def register_formats(config):
    return FORMATS


def load_rows(source, split, subset, config):
    asked = Source(source, split, subset, config.encoding, config.field, config.streaming)
    given = {"config": lambda: config, "tokenizer": tokenizer_of(config)}
    return read_source(asked, given)


def register_callbacks(config):
    from threetoe.train.hours import Hours
    from threetoe.train.watch.answers import Answers
    from threetoe.train.watch.best import Best
    from threetoe.train.watch.callbacks import Interruption, MetricsFile
    from threetoe.train.watch.finite import Finite
    from threetoe.train.watch.progress import StepsDone
    from threetoe.train.watch.samples import Samples
    from threetoe.train.watch.trackers import Tracker

    found = {"finite": Finite(config)}
    if config.is_timed:
        found["hours"] = Hours(config)
    if config.early_stopping_patience or config.load_best_model_at_end:
        found["best"] = Best(config)
    if config.metrics:
        found["answers"] = Answers(config)
    if config.rehearse:
        found["interruption"] = Interruption()
    if is_first():
        found |= {name: Tracker(name) for name in config.report_to}
        found |= {"samples": Samples(config)} if config.sample_steps else {}
        found |= {"progress": StepsDone(), "metrics": MetricsFile()}
    return found


def register_exporters(config):
    from threetoe.export.formats import FORMATS

    return {name: row.write for name, row in FORMATS.items()}


def register_metrics(config):
    return metrics.METRICS


def load_model(config, adapter):
    return model.load_model(config, adapter)


def build_trainer(model, tokenizer, rows, arguments, callbacks, validation, config):
    given = model, tokenizer, rows, arguments, callbacks, validation
    return trainer.build_trainer(*given, eval_rows=config.eval_rows)


def tokenizer_of(config):
    """A function that loads the model's tokenizer: few functions of rows ask for it.

    Unsloth changes parts of transformers when it is imported, so it must come before, and the
    training that follows imports it anyway.
    """

    def load():
        from threetoe.machine.libraries import load_unsloth

        load_unsloth()
        return model.load_tokenizer(config.model or model.choose_model())

    return load
