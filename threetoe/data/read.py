"""Rows become conversations on disk, and the ledger says what became of every row.

source -> rows -> --map -> recipe -> format and --labels -> messages -> map_messages -> disk
"""

import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from threetoe.data.columns import ColumnNames, Recogniser, guarded_formats
from threetoe.data.conversations import Conversations
from threetoe.data.formats import is_ready, ready_row
from threetoe.data.ledger import Ledger
from threetoe.data.recipes.recipe import Recipe, find_recipe
from threetoe.data.sources.source import STDIN, Source
from threetoe.errors import UserError, unknown
from threetoe.machine.terminal import clear_line, show_progress
from threetoe.messages import Skipped, Unusable, order_problem

LOG = "data.jsonl"
SHARE = re.compile(r"(.+):(0?\.\d+)")  # oasst1:0.3


class Part(NamedTuple):
    """One of the --dataset of a call."""

    name: str
    source: Source
    recipe: Recipe | None
    share: float  # of its rows, drawn by the seed


def read_conversations(
    config, hooks, answered: bool = True, limit: int = 0
) -> tuple[Conversations, Ledger]:
    """Every usable row of config.dataset as a conversation, and the ledger of all rows.

    With `answered`, the last turn is the assistant's, and map_messages of plugins is applied;
    without, the row is kept beside its messages.
    With `limit`, reading ends when so many of a dataset are kept. UserError when no row of one can
    be used, or more than --allow-dropped of them have faults.
    """
    known = hooks.merge("register_datasets", config=config)
    check_alone(config)
    parts = [part_of(asked, config, known) for asked in config.datasets]
    limit = min(filter(None, (limit, config.max_samples)), default=0)
    conversations = Conversations()
    return conversations, read_all(parts, conversations, config, hooks, answered, limit)


def check_alone(config) -> None:
    """UserError for what can be said of one dataset, where several are mixed."""
    given = {
        "--dataset-path": config.dataset_path,
        "--dataset-option": config.dataset_option,
        "--dataset-subset": config.dataset_subset,
    }
    flags = [flag for flag, value in given.items() if value]
    if flags and len(config.datasets) > 1:
        raise UserError(
            f"{' and '.join(flags)}: goes with one --dataset, not with {len(config.datasets)}; "
            "a recipe of your own, a .yaml, can say it of each."
        )


def part_of(asked: str, config, known: dict) -> Part:
    """What a --dataset names, and how much of it; UserError for what goes with others alone."""
    shared = SHARE.fullmatch(asked)
    is_there = Path(asked).expanduser().exists()  # a file may have such a name, too
    name, share = (shared[1], float(shared[2])) if shared and not is_there else (asked, 1.0)
    recipe = find_recipe(name, known, config.dataset_option)
    read_by = (config.encoding, config.field, config.streaming)
    if recipe:
        place, split = recipe.location(config.dataset_split, config.dataset_path)
        source = Source(place, split, recipe.subset or config.dataset_subset, *read_by)
    else:
        check_unnamed(name, config)
        source = Source(name, config.dataset_split, config.dataset_subset, *read_by)
    return Part(STDIN if name == "-" else name, source, recipe, share)


def check_unnamed(name: str, config) -> None:
    """UserError for what only goes with a named dataset, or not with a file."""
    for flag, given in (("path", config.dataset_path), ("option", config.dataset_option)):
        if given:
            raise UserError(
                f"--dataset-{flag} goes with a named dataset, which {name} is not; "
                "python -m threetoe datasets lists them."
            )
    subset = config.dataset_subset
    if subset and (name == "-" or Path(name).expanduser().is_file()):
        raise UserError(
            f"--dataset-subset {subset}: a file has no subsets; folders and datasets of the Hub do."
        )


def read_all(
    parts: list[Part], conversations: Conversations, config, hooks, answered: bool, limit: int
) -> Ledger:
    """The account of all parts, whose conversations are written, with a log of the others."""
    names = ColumnNames(config.map, config.instruction)
    account, spelled = Ledger(" + ".join(part.name for part in parts)), False
    with (conversations.folder / LOG).open("w", encoding="utf-8") as log:
        for part in parts:
            recogniser = Recogniser(guarded_formats(hooks, config), config.labels, answered)
            own = Ledger(part.name)
            source = Remembered(load_rows(part, config, hooks))
            for where, row in rows_of(source, part, names, config, answered):
                if own.read % 5000 == 0:
                    show_progress(f"reading {part.name}: {own.read:,} rows")
                own.read += 1
                try:
                    messages = messages_of(row, recogniser, hooks, config)
                    conversations.add(where, messages, None if answered else source.at(where, row))
                except Unusable as error:
                    own.leave_out(where, str(error), log, isinstance(error, Skipped))
                    continue
                own.keep(messages)
                if limit and own.kept == limit:
                    break
            own.unused = list(recogniser.unused)
            check_account(own, names, recogniser, config)
            spelled |= recogniser.spelled
            account.mix(own)
    clear_line()
    conversations.close()
    names.check(account.source)
    if config.labels and answered and not spelled:
        raise UserError(
            f"--labels names codes in answers of one column; {account.source} has rows of another "
            "format."
        )
    account.kept, account.fingerprint = len(conversations), conversations.fingerprint()
    account.duplicates = conversations.duplicates()
    return account


class Remembered:
    """Rows while they are gone through: the last one stays at hand as it was."""

    def __init__(self, rows: Iterator):
        self.rows, self.last = rows, ("", None)

    def __iter__(self) -> Iterator:
        for row in self.rows:
            self.last = row
            yield row

    def at(self, where: str, made: dict) -> dict:
        """The row at a place; what was `made` where a recipe has put several together."""
        place, row = self.last
        return row if place == where else made


def rows_of(rows, part: Part, names: ColumnNames, config, answered: bool) -> Iterator:
    """The rows of a part as its recipe makes them; those outside its share are Skipped."""
    if part.recipe:
        rows = part.recipe.guarded(rows, config.dataset_path)
    if part.share < 1:
        rows = drawn(rows, part, config.seed)
    rows = names.applied(rows)
    return part.recipe.apply(rows, answered) if part.recipe else rows


def load_rows(part: Part, config, hooks) -> Iterator:
    """The rows of a part's source, which is opened when the first is asked for."""
    of = part.source
    found = hooks.first(
        "load_rows", source=of.name, split=of.split, subset=of.subset, config=config
    )
    if found is None:
        raise unknown("dataset", part.name, hooks.merge("register_datasets", config=config))
    yield from found


def drawn(rows: Iterator, part: Part, seed: int) -> Iterator:
    """The rows of a part's share, each drawn by itself, and Skipped in place of the others."""
    draw = random.Random(f"{seed} {part.name}").random
    outside = Skipped(f"outside the share {part.share:g} of {part.name}")
    return ((where, row if draw() < part.share else outside) for where, row in rows)


def messages_of(row, recogniser: Recogniser, hooks, config) -> list[dict] | dict:
    """What a row becomes; Unusable says why nothing, Skipped that this was meant."""
    if isinstance(row, Unusable):
        raise row
    if is_ready(row):
        if not recogniser.answered:
            raise Unusable("input_ids ask nothing")
        return ready_row(row)
    messages = recogniser.messages_of(row)
    if recogniser.answered and hooks.has("map_messages"):
        messages, dropped_by = hooks.chain(
            "map_messages", "messages", messages, may_drop=True, config=config
        )
        if dropped_by:
            raise Skipped(f"dropped by plugin {dropped_by}")
        problem = order_problem(messages, answered=True)
        if problem:
            raise Unusable(f"after map_messages of plugins: {problem}")
    return messages


def check_account(account: Ledger, names: ColumnNames, recogniser: Recogniser, config) -> None:
    """UserError when nothing of a source can be used, or too much has faults."""
    source = account.source
    if not account.read:
        raise UserError(f"{source} is empty: it holds no rows.")
    if not account.kept:
        names.check(source)
        recogniser.check(source)
        raise UserError(f"{source}: no row can be used.", *account.left_out())
    check_share(account, config)


def check_share(account: Ledger, config) -> None:
    """UserError when more than --allow-dropped of the rows have faults."""
    share = account.faults / account.read
    if share > config.allow_dropped:
        raise UserError(
            f"{account.source}: {account.faults:,} of {account.read:,} rows have faults "
            f"({100 * share:.1f} %); --allow-dropped {share + 0.005:.2f} goes on without them.",
            *account.left_out(),
        )
