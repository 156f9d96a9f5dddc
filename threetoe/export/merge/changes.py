"""What an adapter changes in a base tensor, and the rows of new tokens in the embeddings.

PEFT saves with trainable_token_indices the new values of single rows, in the order of the indices
(peft.tuners.trainable_tokens.layer.TrainableTokensLayer.merge). Rows that the base has no place
for make its embeddings larger; then the adapter must hold every one of them.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from threetoe.backend.checkpoint import FLOATS, Stored

EMBEDDINGS = ("embed_tokens", "lm_head", "wte", "word_embeddings")
OUTPUT = "lm_head.weight"


@dataclass
class Change:
    """What an adapter does to one base tensor: replace it or some of its rows, or add to it
    scale * (B @ A)."""

    parts: dict[str, Stored] = field(default_factory=dict)  # A, B, magnitude, whole, rows
    scale: float = 1.0
    rows: tuple[int, ...] = ()  # which rows parts["rows"] replaces, in its order
    flipped: bool = False  # the base holds (in, out): embeddings and GPT-2's Conv1D

    def __str__(self) -> str:
        return ", ".join(map(str, self.parts.values()))

    def height(self, base: Stored) -> int:
        """How many rows the merged tensor has: new tokens may need more than the base's."""
        if "whole" in self.parts:
            return self.parts["whole"].shape[0]
        return max(base.shape[0], 1 + max(self.rows)) if self.rows else base.shape[0]


def named_rows(config: dict) -> dict[str, list]:
    """trainable_token_indices by the end of a module's name, as PEFT reads it."""
    found = config.get("trainable_token_indices") or {}
    return found if isinstance(found, dict) else {"": found}


def rows_of(module: str, config: dict) -> tuple[int, ...]:
    found = (rows for name, rows in named_rows(config).items() if module.endswith(name))
    return tuple(next(found, ()))


def is_tied(tensors: list[Stored], config: dict) -> bool:
    """Whether a base's output embeddings are its input embeddings."""
    stored = any(tensor.name == OUTPUT for tensor in tensors)
    return (config.get("text_config") or config).get("tie_word_embeddings", not stored)


def is_embedding(name: str) -> bool:
    return name.split(".")[-2:][0] in EMBEDDINGS


def copies_of_tied(tensors: list[Stored], changes: dict, tied: bool) -> dict[str, Change]:
    """The same new rows for an lm_head that a base stores although it is tied."""
    rows = [change for change in changes.values() if change.rows]
    stored = any(tensor.name == OUTPUT for tensor in tensors)
    return {OUTPUT: rows[0]} if tied and stored and rows else {}


def grown_heights(tensors: list[Stored], changes: dict[str, Change]) -> dict[str, int]:
    """The rows of those embeddings of which a merge has another number, by name."""
    heights = {}
    for tensor in tensors:
        change = changes.get(tensor.name, Change())
        if is_embedding(tensor.name) and change.height(tensor) != tensor.shape[0]:
            heights[tensor.name] = change.height(tensor)
    return heights


def height_problems(tensors: list[Stored], changes: dict) -> Iterator[tuple[str, str]]:
    """Embeddings that new tokens would leave with different numbers of rows."""
    grown = grown_heights(tensors, changes)
    first = next(iter(grown), None)
    for tensor in tensors:
        height = grown.get(tensor.name, tensor.shape[0] if tensor.shape else 0)
        if first and is_embedding(tensor.name) and height != grown[first]:
            text = f"The adapter makes {first} {grown[first]} rows high, but {tensor.name}"
            yield "height", f"{text} has {height}."


def lost_rows(changes: dict, config: dict, tied: bool) -> Iterator[tuple[str, str]]:
    """Modules whose rows the config names and the adapter lacks; of tied ones it has one's."""
    held = [name.removesuffix(".weight") for name, change in changes.items() if change.rows]
    for name, rows in named_rows(config).items():
        if not (tied and held) and not any(module.endswith(name) for module in held):
            named = f"trainable_token_indices={rows}"
            yield (
                "rows",
                f"The adapter lacks the rows of {name or 'embeddings'} that {named} names.",
            )


def row_problems(base: Stored, change: Change) -> Iterator[tuple[str, str]]:
    """Why an adapter's rows cannot stand in a base tensor."""
    part, rows = change.parts["rows"], change.rows
    fits = len(change.parts) == 1 and part.dtype in FLOATS and base.dtype in FLOATS
    fits &= len(base.shape) == 2 and part.shape == (len(rows), *base.shape[1:])
    if not fits or len(set(rows)) < len(rows) or min(rows, default=0) < 0:
        text = f"The adapter's {change} does not fit the base's {base}"
        yield "shape", f"{text} and the {len(rows)} rows of its trainable_token_indices."
    elif lost := set(range(base.shape[0], change.height(base))) - set(rows):
        yield "lost", f"The adapter's {change} makes the base's {base} larger, without {min(lost)}."


def settle_tied(
    tensors: list[Stored], changes: dict[str, Change], config: dict
) -> tuple[list[Stored], dict[str, Change], bool]:
    """The tensors and changes of a tied base's merge, and whether its embeddings are split: then
    there is an lm_head.weight, which begins as the input embeddings. `config` is the adapter's."""
    names = [tensor.name for tensor in tensors]
    entry = next((name for name in names if is_embedding(name) and name != OUTPUT), None)
    first, last = changes.get(entry), changes.get(OUTPUT)
    if last is None and (first is None or first.rows):
        return tensors, changes | copies_of_tied(tensors, changes, True), False
    if first and last and (config.get("ensure_weight_tying") or same_whole(first, last)):
        rest = {name: change for name, change in changes.items() if name != OUTPUT}
        return tensors, rest | ({OUTPUT: first} if OUTPUT in names else {}), False
    if OUTPUT in names or entry is None:
        return tensors, changes, True
    held = next(tensor for tensor in tensors if tensor.name == entry)
    return [*tensors, replace(held, name=OUTPUT)], changes, True


def same_whole(first: Change, last: Change) -> bool:
    """Whether two changes put the same bytes in place of both embeddings."""
    if first.parts.keys() != {"whole"} or last.parts.keys() != {"whole"}:
        return False
    a, b = first.parts["whole"], last.parts["whole"]
    return (a.dtype, a.shape) == (b.dtype, b.shape) and digest_of(a) == digest_of(b)


def digest_of(part: Stored) -> bytes:
    """SHA-256 of a tensor's bytes."""
    digest, left = hashlib.sha256(), part.size
    with open(part.file, "rb") as file:
        file.seek(part.start)
        while left:
            piece = file.read(min(left, 2**20))
            digest.update(piece)
            left -= len(piece)
    return digest.digest()
