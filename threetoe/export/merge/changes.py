"""What an adapter changes in a base tensor, and the rows of new tokens in the embeddings.

PEFT saves with trainable_token_indices the new values of single rows, in the order of the indices
(peft.tuners.trainable_tokens.layer.TrainableTokensLayer.merge). Rows that the base has no place
for make its embeddings larger; then the adapter must hold every one of them.
"""

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

    def shape_of(self, base: Stored) -> tuple[int, ...]:
        """That of the merged tensor: new tokens may need more rows than the base has."""
        if "whole" in self.parts:
            return self.parts["whole"].shape
        return (
            (max(base.shape[0], 1 + max(self.rows)), *base.shape[1:]) if self.rows else base.shape
        )


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


def height_problems(tensors: list[Stored], changes: dict) -> Iterator[tuple[str, str]]:
    """Embeddings that new tokens would leave with different numbers of rows."""
    embeddings = [tensor for tensor in tensors if is_embedding(tensor.name) and tensor.shape]
    heights = {one.name: changes.get(one.name, Change()).shape_of(one)[0] for one in embeddings}
    grown = next((one.name for one in embeddings if heights[one.name] != one.shape[0]), None)
    for name, height in heights.items():
        if grown and height != heights[grown]:
            text = f"The adapter makes {grown} {heights[grown]} rows high, but {name} has {height}."
            yield "height", text


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
    elif lost := set(range(base.shape[0], change.shape_of(base)[0])) - set(rows):
        yield "lost", f"The adapter's {change} makes the base's {base} larger, without {min(lost)}."


def settle_tied(
    tensors: list[Stored], changes: dict[str, Change], config: dict
) -> tuple[list[Stored], dict[str, Change], bool]:
    """The tensors and changes of a tied base's merge, and whether its embeddings are split: then
    there is an lm_head.weight, which begins as the input embeddings. `config` is the adapter's."""
    names = [tensor.name for tensor in tensors]
    entry = next((name for name in names if is_embedding(name) and name != OUTPUT), None)
    first, last = changes.get(entry), changes.get(OUTPUT)
    same = first and last and (config.get("ensure_weight_tying") or same_whole(first, last))
    if same or last is None and (first is None or first.rows):
        rest = {name: change for name, change in changes.items() if name != OUTPUT}
        stored = {OUTPUT: first} if first and OUTPUT in names else {}  # although it is tied
        return tensors, rest | stored, False
    if OUTPUT in names or entry is None:
        return tensors, changes, True
    held = next(tensor for tensor in tensors if tensor.name == entry)
    return [*tensors, replace(held, name=OUTPUT)], changes, True


def same_whole(first: Change, last: Change) -> bool:
    """Whether two changes put the same numbers in place of both embeddings."""
    if first.parts.keys() != {"whole"} or last.parts.keys() != {"whole"}:
        return False
    import torch
    from safetensors import safe_open

    with safe_open(first.parts["whole"].file, "pt") as file:  # mapped, not read into memory
        one, other = (file.get_tensor(change.parts["whole"].name) for change in (first, last))
        return one.dtype == other.dtype and torch.equal(one, other)
