"""Conversations become ids and labels on disk: in batches, on all cores.

Python renders one batch while the tokenizer, outside Python's lock, works on the batch before.
"""

import gc
import tempfile
from array import array
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

from threetoe.data.conversations import Conversation, Conversations
from threetoe.data.ledger import Ledger
from threetoe.data.read import LOG, check_share
from threetoe.errors import UserError
from threetoe.messages import Unusable
from threetoe.prompt.encode import IGNORED, Batch, Encoded, stop_ids
from threetoe.prompt.pieces import Marks, Piece
from threetoe.prompt.tokenizer import splits_apart

BATCH = 512  # conversations; their encodings are some 10 KB each
FILE = "tokens.arrow"


class Prompting(NamedTuple):
    """All that makes ids of messages."""

    template: object  # Template or TokenizerTemplate
    marks: Marks
    tokenizer: object
    max_seq_length: int
    learn_all: bool
    last_alone: bool = False  # of a conversation's answers the last is learned

    def pieces(self, conversation: Conversation) -> list[Piece]:
        """A conversation's pieces; UserError names the row that a base's own template refuses."""
        where, messages = conversation
        if messages[0]["role"] == "text":
            return self.text_pieces(messages[0]["content"])
        try:
            messages = without_earlier(messages) if self.last_alone else messages
            return self.template.pieces(messages, self.marks)
        except UserError as error:
            raise UserError(*(f"{where}: {problem}" for problem in error.problems)) from None

    def text_pieces(self, text: str) -> list[Piece]:
        """A text as it is, with BOS and EOS where it does not bring them, all of it learned."""
        bos = "" if self.marks.bos and text.startswith(self.marks.bos) else self.marks.bos
        eos = "" if text.rstrip().endswith(self.marks.eos) else self.marks.eos
        return [Piece(bos, False), Piece(text.rstrip() + eos, True)]


def without_earlier(messages: list[dict]) -> list[dict]:
    """The messages; of the answers only the last is learned, if it was to be."""
    return [m | {"weight": 0} if m["role"] == "assistant" else m for m in messages[:-1]] + messages[
        -1:
    ]


class EncodedRows:
    """Rows of ids and labels in a temporary folder, which goes when this does; with what the ledger
    and the checks want to know of them. Row i is conversation `numbers[i]`."""

    def __init__(self, conversations: Conversations, prompting: Prompting):
        import pyarrow

        listed = pyarrow.list_(pyarrow.int32())
        self.schema = pyarrow.schema(
            {"input_ids": listed, "labels": listed, "length": pyarrow.int32()}
        )
        self.scratch = tempfile.TemporaryDirectory(prefix="threetoe-")
        self.folder = Path(self.scratch.name)
        self.conversations, self.prompting, self.account = conversations, prompting, Ledger("")
        self.stops = stop_ids(prompting.template.end(prompting.marks), prompting.tokenizer)
        self.writer = pyarrow.ipc.new_stream(str(self.folder / FILE), self.schema)
        self.numbers, self.lengths, self.learned = array("i"), array("i"), array("i")
        self.notes = {"shortest": 0, "whole": 0, "endless": "", "stopped": {}}

    def __len__(self) -> int:
        return len(self.numbers)

    def dataset(self):
        """The rows as a memory-mapped datasets.Dataset: input_ids, labels, length."""
        from datasets import Dataset

        return Dataset.from_file(str(self.folder / FILE))

    def hashes(self):
        """64 bits for each row, equal where the messages are."""
        import numpy

        return numpy.array(self.conversations.hashes, dtype="uint64")[self.numbers]

    def add(self, batch: list, log) -> None:
        kept = []
        for conversation, row in batch:
            number, self.account.read = self.account.read, self.account.read + 1
            if isinstance(row, Unusable):
                self.account.leave_out(conversation.where, str(row), log)
            elif learned := self.check(conversation, row, log):
                kept.append(row)
                self.account.keep(conversation.messages)
                self.numbers.append(number)
                self.lengths.append(len(row.input_ids))
                self.learned.append(learned)
        self.put(kept)

    def check(self, conversation: Conversation, row: Encoded, log) -> int:
        """How many tokens of a row are learned; what is wrong with it is noted."""
        where, messages = conversation
        shortest = self.notes["shortest"]
        self.notes["shortest"] = min(shortest or row.full_length, row.full_length)
        learned = len(row.labels) - row.labels.count(IGNORED)
        if learned == (row.labels[0] != IGNORED):  # nothing stands before the first token
            learned = 0
            reason = "nothing to learn within --max-seq-length"
            self.account.leave_out(where, reason, log)
        elif row.full_length > len(row.input_ids):
            self.account.cut(where, f"cut from {row.full_length} tokens", log)
        else:
            self.notes["whole"] += 1
            if row.labels[-1] not in self.stops and isinstance(messages, list):
                self.notes["endless"] = self.notes["endless"] or where
        self.note_stops(conversation)
        return learned

    def note_stops(self, conversation: Conversation) -> None:
        """Count answers that contain a stop string of the template."""
        stops = self.prompting.template.stop if isinstance(conversation.messages, list) else ()
        for stop in stops:
            answers = (m for m in conversation.messages if m["role"] == "assistant")
            if any(stop in message["content"] for message in answers):
                count, first = self.notes["stopped"].get(stop, (0, conversation.where))
                self.notes["stopped"][stop] = (count + 1, first)

    def put(self, rows: list[Encoded]) -> None:
        import numpy
        import pyarrow

        lengths = numpy.array([len(row.input_ids) for row in rows], dtype="int32")
        ends = numpy.concatenate([[0], lengths.cumsum()]).astype("int32")
        columns = []
        for lists in ([row.input_ids for row in rows], [row.labels for row in rows]):
            flat = numpy.fromiter(chain.from_iterable(lists), "int32", ends[-1])
            values = pyarrow.array(flat)
            columns.append(pyarrow.ListArray.from_arrays(pyarrow.array(ends), values))
        columns.append(pyarrow.array(lengths))
        self.writer.write_batch(pyarrow.record_batch(columns, schema=self.schema))

    def close(self) -> None:
        import numpy

        self.writer.close()
        self.numbers, self.lengths, self.learned = (
            numpy.array(each, "int32") for each in (self.numbers, self.lengths, self.learned)
        )


def encode_conversations(conversations: Conversations, prompting: Prompting) -> EncodedRows:
    """The conversations as ids and labels, cut to max_seq_length."""
    rows = EncodedRows(conversations, prompting)
    with (rows.folder / LOG).open("w", encoding="utf-8") as log, leave_cycles_alone():
        for batch in encode_batches(conversations, prompting):
            rows.add(batch, log)
    rows.close()
    return rows


def complete_ledger(encoded: EncodedRows, account: Ledger, config) -> None:
    """Add to a ledger what encoding left out or cut; UserError when too little is left."""
    account.add(encoded.account)
    if not account.kept:
        raise UserError(
            f"No row has anything to learn within --max-seq-length {config.max_seq_length}; "
            f"the shortest has {encoded.notes['shortest']} tokens."
        )
    check_share(account, config)


@contextmanager
def leave_cycles_alone():
    """Python looks for circles of objects only once in 100,000 new ones, not in 700. A batch has
    many objects, none in a circle, so that it would go through all those of every library again
    and again: a third of the time."""
    usual = gc.get_threshold()
    gc.set_threshold(100_000, *usual[1:])
    try:
        yield
    finally:
        gc.set_threshold(*usual)


def encode_batches(conversations, prompting: Prompting) -> Iterator[list]:
    """Batches of (conversation, Encoded) in order."""
    apart = splits_apart(prompting.tokenizer)
    with ThreadPoolExecutor(1) as pool:
        waiting, left = None, iter(conversations)
        while listed := list(islice(left, BATCH)):
            pieces = [prompting.pieces(c) for c in listed if isinstance(c.messages, list)]
            batch = Batch(pieces, prompting.tokenizer, apart)
            future = pool.submit(batch.run)
            if waiting:
                yield pair_with_rows(*waiting, prompting)
            waiting = listed, batch, future
        if waiting:
            yield pair_with_rows(*waiting, prompting)


def pair_with_rows(listed, batch: Batch, future, prompting: Prompting) -> list:
    made = batch.rows(future.result(), prompting.max_seq_length, prompting.learn_all)
    return [
        (c, next(made) if isinstance(c.messages, list) else take_ready(c.messages, prompting))
        for c in listed
    ]


def take_ready(row: dict, prompting: Prompting) -> Encoded | Unusable:
    """Ids and labels that the data bring; ready_ids has checked all but their size."""
    ids, labels, room = row["input_ids"], row["labels"], len(prompting.tokenizer)
    for name, largest in (("input_ids", max(ids)), ("labels", max(labels))):
        if largest >= room:
            return Unusable(f"{name} has {largest}; the tokenizer has {room} tokens")
    return Encoded(ids[: prompting.max_seq_length], labels[: prompting.max_seq_length], len(ids))
