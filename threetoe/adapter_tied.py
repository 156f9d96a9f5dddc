"""Embeddings that a base ties, where an adapter changes one of them or both differently.

A model holds one matrix for both; what training added to the input or to the output alone must not
reach the other, so lm_head.weight then becomes a tensor of its own. (PEFT's merge_and_unload adds
to the shared matrix, which changes both: its merged model is not the one that was trained.)
"""

import hashlib
from dataclasses import replace

from threetoe.adapter_rows import OUTPUT, Change, copies_of_tied, is_embedding
from threetoe.shards import Stored


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
