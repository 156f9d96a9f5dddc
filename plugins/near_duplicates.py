"""Drops rows that are nearly the same as an earlier one (MinHash; pip install datasketch).

python train.py --dataset my.json --plugin plugins/near_duplicates.py --set similarity=0.7
Texts are compared by their runs of five characters, which Chinese has as well as English.
"""

from dataclasses import dataclass

from datasketch import MinHash, MinHashLSH

from threetoe.api import UserError

LENGTH, PERMUTATIONS = 5, 128


@dataclass(frozen=True)
class Settings:
    similarity: float = 0.8  # from which on two rows count as the same, estimated to about 0.05

    def __post_init__(self):
        if not 0 < self.similarity < 1:
            raise UserError(f"near_duplicates.similarity={self.similarity}: not between 0 and 1.")


def register_datasets(settings):
    """Data is about to be read: nothing has been seen yet."""
    global _seen
    _seen = MinHashLSH(threshold=settings.similarity, num_perm=PERMUTATIONS)


def map_messages(messages):
    text = " ".join(text for m in messages for key, text in m.items() if key != "role").lower()
    runs = {text[start : start + LENGTH] for start in range(max(1, len(text) - LENGTH + 1))}
    sketch = MinHash(num_perm=PERMUTATIONS)
    sketch.update_batch([run.encode() for run in runs])
    if _seen.query(sketch):
        return None
    _seen.insert(len(_seen.keys), sketch)
    return messages
