"""The rows of a training: what is trained, what is validated, and the account of both."""

from collections.abc import Iterator
from pathlib import Path
from shutil import copyfileobj
from typing import NamedTuple

from threetoe.data.chart import draw, histogram
from threetoe.data.conversations import Conversations
from threetoe.data.ledger import Ledger, note
from threetoe.data.read import LOG
from threetoe.errors import UserError
from threetoe.machine.files import write_json
from threetoe.train.prepare import EncodedRows, Prompting, complete_ledger, encode_conversations

TRAINED_TOO = "stands in the training rows"


class Source(NamedTuple):
    conversations: Conversations
    ledger: Ledger


class RowSets(NamedTuple):
    """Indices are into the rows of the EncodedRows of the same name."""

    ledgers: list[Ledger]  # of training; then of validation, where that has its own source
    training: EncodedRows
    trained: object  # numpy indices
    validation: EncodedRows | None
    validated: object
    max_seq_length: int

    def to_train(self):
        return chosen(self.training, self.trained)

    def to_validate(self):
        """A datasets.Dataset, or None."""
        return chosen(self.validation, self.validated) if self.validation else None

    def lines(self) -> list[str]:
        return [line for ledger in self.ledgers for line in ledger.lines()]

    def lengths(self):
        """In tokens, of each row that is trained; a numpy array."""
        return self.training.lengths[self.trained]

    def account(self) -> dict:
        """What data.json says: the ledger, lengths and tokens of what is trained."""
        lengths = self.lengths()
        tokens, learned = int(lengths.sum()), int(self.training.learned[self.trained].sum())
        figures = {"tokens": tokens, "learned_tokens": learned}
        spread = {"max_seq_length": self.max_seq_length, **spread_of(lengths)}
        figures |= {"learned_share": round(learned / tokens, 4), "lengths": spread}
        own = {"validation_source": self.ledgers[1].as_dict()} if self.ledgers[1:] else {}
        return {**self.ledgers[0].as_dict(), **figures, **own}

    def trained_too(self):
        """The indices of a validation source's rows that are trained, so not validated on."""
        import numpy

        count = len(self.validation) if self.ledgers[1:] else 0
        return numpy.setdiff1d(numpy.arange(count), self.validated)

    def save(self, folder: Path) -> None:
        """Write data.json, data.svg, and data.jsonl with every row that was left out or cut."""
        account = self.account()
        write_json(folder / "data.json", account)
        with (folder / LOG).open("w", encoding="utf-8") as file:
            for encoded in dict.fromkeys(filter(None, (self.training, self.validation))):
                for place in (encoded.conversations.folder, encoded.folder):
                    with (place / LOG).open(encoding="utf-8") as log:
                        copyfileobj(log, file)
            for where in places(self.validation, self.trained_too()):
                note(file, where, "skipped", TRAINED_TOO)
        draw(folder / "data.svg", account)


def places(encoded: EncodedRows | None, indices) -> Iterator[str]:
    """Where these rows stand, in order."""
    if len(indices):
        wanted = set(encoded.numbers[indices].tolist())
        yield from (c.where for n, c in enumerate(encoded.conversations) if n in wanted)


def chosen(encoded: EncodedRows, indices):
    rows = encoded.dataset()
    return rows if len(indices) == len(rows) else rows.select(indices)


def encode_sources(job, prompting: Prompting) -> RowSets:
    """Rows of ids for training and validation; the ledgers are completed."""
    import numpy

    config, ledgers = job.config, [source.ledger for source in job.sources]
    made = [encode_conversations(source.conversations, prompting) for source in job.sources]
    for encoded, ledger in zip(made, ledgers, strict=True):
        complete_ledger(encoded, ledger, config)
        check_ends(encoded, config)
    training, trained = made[0], numpy.arange(len(made[0]))
    room = config.max_seq_length
    if config.val_size:
        trained, validated = split_rows(training.hashes(), config.val_size, config.seed)
        ledgers[0].validation = len(validated)
        return RowSets(ledgers, training, trained, training, validated, room)
    if made[1:]:
        validated = unseen(made[1].hashes(), training.hashes())
        sets = RowSets(ledgers, training, trained, made[1], validated, room)
        set_apart(ledgers[1], list(places(made[1], sets.trained_too())))
        return sets
    return RowSets(ledgers, training, trained, None, None, room)


def set_apart(ledger: Ledger, trained: list[str]) -> None:
    """Make the ledger of a validation source; rows that are trained too are none of it."""
    if len(trained) == ledger.kept:
        raise UserError(f"{ledger.source}: every validation row is a row to train on, too.")
    if trained:
        ledger.skipped[TRAINED_TOO] = len(trained)
        ledger.examples[TRAINED_TOO] = trained[0]
    ledger.kept -= len(trained)
    ledger.validation = ledger.kept


def check_ends(encoded: EncodedRows, config) -> None:
    """UserError unless every whole answer ends in a stop id, and some answer is whole."""
    notes = encoded.notes
    if not notes["whole"]:
        raise UserError(
            f"--max-seq-length {config.max_seq_length} cuts every answer, so none would learn to "
            f"end; the shortest row has {notes['shortest']} tokens."
        )
    if notes["endless"]:
        where = notes["endless"]
        raise UserError(f"{where}: the answer has no end token; the template must end it.")


def spread_of(lengths) -> dict:
    """Row lengths in tokens: the middle, the long end, and a histogram."""
    import numpy

    return {
        "median": int(numpy.median(lengths)),
        "p95": int(numpy.percentile(lengths, 95, method="higher")),
        "longest": int(lengths.max()),
        **histogram(lengths),
    }


def split_rows(hashes, size: str, seed: int):
    """(indices to train on, indices for validation) of rows with these hashes, both in order.

    `size` is a share below 1 or a number of rows. Rows that are equal go to one side together, so
    no validation row is trained; that may leave validation a few rows short. The same seed and
    rows give the same split. UserError when nothing would be left to train on, or to validate.
    """
    import numpy

    rows = len(hashes)
    wanted = round(float(size) * rows) if float(size) < 1 else int(float(size))
    if not 0 < wanted < rows:
        raise UserError(
            f"--val-size {size} of {rows:,} rows is {wanted:,}; some must be on each side."
        )
    _, group, counts = numpy.unique(hashes, return_inverse=True, return_counts=True)
    chosen, taken = numpy.zeros(len(counts), dtype=bool), 0
    for number in numpy.random.default_rng(seed).permutation(len(counts)):
        if taken + counts[number] <= wanted:
            chosen[number], taken = True, taken + counts[number]
        if taken == wanted:
            break
    if not taken:
        raise UserError(
            f"--val-size {size}: every row stands in the data more than {wanted:,} times, so none "
            "can be kept out of training; raise it."
        )
    held_out = chosen[group]
    return numpy.flatnonzero(~held_out), numpy.flatnonzero(held_out)


def unseen(hashes, trained):
    """The indices of rows, of those with these hashes, that are not among the trained ones."""
    import numpy

    return numpy.flatnonzero(~numpy.isin(hashes, trained))
