"""Conversations on disk, a line each, with a hash of each: rows may be more than memory holds."""

import hashlib
import json
import tempfile
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from threetoe.errors import first_line
from threetoe.messages import Unusable

as_json = json.JSONEncoder(ensure_ascii=False).encode


class Conversation(NamedTuple):
    """`messages` is a dict of input_ids and labels where a function brought those ready."""

    where: str
    messages: list[dict] | dict


class Conversations:
    """Conversations in a temporary folder, which goes when this does. They are read anew each time
    that it is gone through, once it is closed."""

    def __init__(self):
        self.scratch = tempfile.TemporaryDirectory(prefix="threetoe-")
        self.folder = Path(self.scratch.name)
        self.hashes = array("Q")  # 64 bits for each, equal where the messages are
        self.whole = hashlib.sha256()
        self.path = self.folder / "rows.jsonl"
        self.file = self.path.open("w", encoding="utf-8")
        self.given = self.path.with_name("given.jsonl").open("w+", encoding="utf-8")

    def add(self, where: str, messages, given: dict | None = None) -> None:
        """Write one, and the row that it was `given` as, which may be asked for again; Unusable
        where a plugin has put into it what no text can say."""
        try:
            text = as_json(messages)
            data = text.encode() + b"\n"
            kept = given and json.dumps(given, ensure_ascii=False, default=str, skipkeys=True)
        except (TypeError, ValueError) as error:  # ValueError: half a character, or a circle
            raise Unusable(f"its messages cannot be written: {first_line(error)}") from error
        self.whole.update(data)
        digest = hashlib.blake2b(data, digest_size=8).digest()
        self.hashes.append(int.from_bytes(digest, "little"))
        self.file.write(f"[{as_json(where)}, {text}]\n")
        if kept:
            self.given.write(kept.encode(errors="replace").decode() + "\n")  # no half characters

    def rows(self) -> Iterator[dict]:
        """The rows that were given, as JSON has them."""
        self.given.seek(0)
        return map(json.loads, self.given)

    def close(self) -> None:
        self.file.close()

    def fingerprint(self) -> str:
        """A hash of all messages in order; the same data gives the same fingerprint."""
        return self.whole.hexdigest()[:16]

    def duplicates(self) -> int:
        """How many stand there before, message for message."""
        return len(self) - len(set(self.hashes))

    def __len__(self) -> int:
        return len(self.hashes)

    def __iter__(self) -> Iterator[Conversation]:
        with self.path.open(encoding="utf-8") as file:
            for line in file:
                yield Conversation(*json.loads(line))

    def chosen(self, numbers: set[int]) -> Iterator[Conversation]:
        """Those of the numbers, in order; no other line is parsed."""
        with self.path.open(encoding="utf-8") as file:
            for number, line in enumerate(file):
                if number in numbers:
                    yield Conversation(*json.loads(line))
