"""The options of `templates rank`: those of training that say what is scored, and how many rows."""

from dataclasses import dataclass

from threetoe.config import TrainConfig
from threetoe.option_types import POSITIVE, option


@dataclass(frozen=True)
class RankConfig(TrainConfig):
    """What `templates rank` is asked: the options of training that RANKED names, and rows."""

    rows: int = option(32, "Rows to score.", POSITIVE, "Data")


RANKED = """
    dataset dataset_path dataset_subset dataset_split dataset_option field encoding map labels
    allow_dropped template rows max_seq_length model load_in_4bit seed plugin
    settings plugin_errors
    per_device_train_batch_size
""".split()
