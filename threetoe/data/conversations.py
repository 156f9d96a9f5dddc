"""Conversations on disk, a line each, with a hash of each: rows may be more than memory holds."""

import hashlib
import json
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from threetoe.errors import first_line
from threetoe.messages import Unusable

ROWS, HASHES = "rows.jsonl", "hashes.bin"
as_json = json.JSONEncoder(ensure_ascii=False).encode


class Conversation(NamedTuple):
    """`messages` is a dict of input_ids and labels where a function brought those ready."""

    where: str
    messages: list[dict] | dict


class Writer:
    """Writes conversations and their hashes into a folder."""

    def __init__(self, folder: Path):
        self.folder, self.count = folder, 0
        self.hashes, self.whole = array("Q"), hashlib.sha256()
        self.file = (folder / ROWS).open("w", encoding="utf-8")

    def add(self, where: str, messages) -> None:
        """Write one; Unusable where a plugin has put into it what no text can say."""
        try:
            text = as_json(messages)
            data = text.encode() + b"\n"
        except (TypeError, ValueError) as error:  # ValueError: half a character, or a circle
            raise Unusable(f"its messages cannot be written: {first_line(error)}") from error
        self.whole.update(data)
        digest = hashlib.blake2b(data, digest_size=8).digest()
        self.hashes.append(int.from_bytes(digest, "little"))
        self.file.write(f"[{as_json(where)}, {text}]\n")
        self.count += 1

    def close(self) -> None:
        self.file.close()
        (self.folder / HASHES).write_bytes(self.hashes.tobytes())

    def fingerprint(self) -> str:
        """A hash of all messages in order; the same data gives the same fingerprint."""
        return self.whole.hexdigest()[:16]

    def duplicates(self) -> int:
        """How many stand there before, message for message."""
        return self.count - len(set(self.hashes))


class Conversations:
    """What a Writer has written; read anew each time that it is gone through."""

    def __init__(self, folder: Path, count: int, kept=None, key: str | None = None):
        self.folder, self.count = folder, count
        self.kept = kept  # a temporary folder lives as long as this
        self.key = key  # of the cache

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Conversation]:
        with (self.folder / ROWS).open(encoding="utf-8") as file:
            for line in file:
                yield Conversation(*json.loads(line))

    def chosen(self, numbers: set[int]) -> Iterator[Conversation]:
        """Those of the numbers, in order; no other line is parsed."""
        with (self.folder / ROWS).open(encoding="utf-8") as file:
            for number, line in enumerate(file):
                if number in numbers:
                    yield Conversation(*json.loads(line))

    def hashes(self) -> array:
        """64 bits for each conversation, equal where the messages are."""
        found = array("Q")
        found.frombytes((self.folder / HASHES).read_bytes())
        return found
