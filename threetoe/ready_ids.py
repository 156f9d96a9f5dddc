"""Rows that are tokens already: input_ids and labels, checked and made lists of numbers."""

from operator import index

from threetoe.formats import Unusable

IGNORED = -100  # a label that is not learned, as torch's cross entropy has it


def is_ready(row) -> bool:
    return "input_ids" in row


def ready_row(row) -> dict:
    """{"input_ids", "labels"} as lists of int, padding cut off; Unusable with the fault."""
    ids = whole_numbers(row, "input_ids")
    labels = whole_numbers(row, "labels")
    if len(labels) != len(ids):
        raise Unusable(f"labels has {len(labels)} values, input_ids {len(ids)}")
    start, end = attended(row, len(ids))
    ids, labels = ids[start:end], labels[start:end]
    if not ids:
        raise Unusable("input_ids is empty")
    if min(ids) < 0:
        raise Unusable("input_ids has a number below 0")
    if any(label < 0 and label != IGNORED for label in labels):
        raise Unusable(f"labels has a number below 0 that is not {IGNORED}")
    return {"input_ids": ids, "labels": labels}


def whole_numbers(row, column: str) -> list[int]:
    """A column's numbers, from a list, an array or a tensor."""
    value = row.get(column)
    if value is None:
        raise Unusable(f"has input_ids, but no {column}; {IGNORED} is for what is not learned")
    tolist = getattr(value, "tolist", None)  # of numpy's arrays and torch's tensors
    value = tolist() if tolist else value
    if not isinstance(value, (list, tuple)):
        raise Unusable(f"{column} is {type(value).__name__}, not a list of numbers")
    try:
        return [index(number) for number in value]
    except TypeError:
        raise Unusable(f"{column} has other things than whole numbers") from None


def attended(row, length: int) -> tuple[int, int]:
    """Where the tokens start and end that attention_mask lets through; what is outside is padding.

    Without a mask, all are.
    """
    if row.get("attention_mask") is None:
        return 0, length
    mask = whole_numbers(row, "attention_mask")
    if len(mask) != length or not set(mask) <= {0, 1}:
        raise Unusable("attention_mask is not a 1 or 0 for each of input_ids")
    if 1 not in mask:
        raise Unusable("attention_mask lets no token through")
    start, end = mask.index(1), length - mask[::-1].index(1)
    if 0 in mask[start:end]:
        raise Unusable("attention_mask has a 0 between tokens; only padding may be masked")
    return start, end
