"""A curriculum: short rows first, long ones last, in every epoch, instead of a random order.

python train.py --dataset my.json --plugin plugins/short_first.py
Only build_trainer can do this: map_messages sees one row at a time, and the arguments alone can
group rows by length but not sort them. With --set longest_first=true a lack of memory shows early.
"""

from dataclasses import dataclass

from threetoe import api


@dataclass(frozen=True)
class Settings:
    longest_first: bool = False


def build_trainer(model, tokenizer, rows, arguments, callbacks, validation, settings):
    rows = rows.sort("length", reverse=settings.longest_first)
    arguments = {**arguments, "train_sampling_strategy": "sequential"}
    return api.build_trainer(model, tokenizer, rows, arguments, callbacks, validation)
