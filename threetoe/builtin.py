"""What the project ships, registered through the same hooks that plugins use."""

from threetoe import backend, catalog, metrics, rows
from threetoe.formats import FORMATS


def register_templates(config):
    return catalog.named_files("templates")


def register_datasets(config):
    return catalog.named_files("datasets")


def register_formats(config):
    return FORMATS


def load_rows(source, split, subset, config):
    return rows.read_source(source, split, subset, config)


def register_callbacks(config):
    from threetoe.progress import MetricsFile, Progress

    return {"progress": Progress(), "metrics": MetricsFile()}


def register_exporters(config):
    from threetoe.exporters import write_adapter, write_merged, write_merged_4bit
    from threetoe.gguf_export import write_gguf, write_ollama

    return {
        "adapter": write_adapter,
        "merged": write_merged,
        "merged-4bit": write_merged_4bit,
        "gguf": write_gguf,
        "ollama": write_ollama,
    }


def register_metrics(config):
    return {metrics.EXACT: metrics.exact}


def load_model(config, adapter):
    return backend.load_model(config, adapter)


def build_trainer(model, tokenizer, rows, arguments, callbacks, validation):
    return backend.build_trainer(model, tokenizer, rows, arguments, callbacks, validation)
