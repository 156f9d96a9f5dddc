"""Rows become conversations, and the ledger says what became of every row."""

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from threetoe.errors import UserError, did_you_mean, unknown
from threetoe.formats import Format, Unusable, is_blank, order_problem
from threetoe.hooks import PASSED_OVER

SHOWN = 5  # reasons; the run's record has them all


class Conversation(NamedTuple):
    where: str
    messages: list[dict]


@dataclass
class Ledger:
    """What became of the rows of one source: read = kept + every reason for dropping."""

    source: str
    read: int = 0
    kept: int = 0
    dropped: list[tuple[str, str]] = field(default_factory=list)  # (where, reason)
    truncated: list[str] = field(default_factory=list)  # where
    fingerprint: str = ""

    def drop(self, where: str, reason: str) -> None:
        self.dropped.append((where, reason))

    def reasons(self) -> dict[str, int]:
        return dict(Counter(reason for _, reason in self.dropped).most_common())

    def as_dict(self) -> dict:
        return {
            "source": self.source,
            "read": self.read,
            "trained": self.kept,
            "dropped": [list(entry) for entry in self.dropped],
            "reasons": self.reasons(),
            "truncated": self.truncated,
            "fingerprint": self.fingerprint,
        }

    def lines(self) -> list[str]:
        """The account, to be printed."""
        rows = "1 row" if self.read == 1 else f"{self.read} rows"
        lines = [f"{rows} read from {self.source}, {self.kept} to train on"]
        reasons = list(self.reasons().items())
        for reason, count in reasons[:SHOWN]:
            example = next(where for where, why in self.dropped if why == reason)
            lines.append(f"{count} dropped: {reason} (first: {example})")
        if reasons[SHOWN:]:
            count = sum(count for _, count in reasons[SHOWN:])
            lines.append(f"{count} dropped for {len(reasons) - SHOWN} other reasons")
        if self.truncated:
            lines.append(f"{len(self.truncated)} cut to fit (first: {self.truncated[0]})")
        return lines


def read_conversations(
    source: str, config, hooks, answered: bool = True
) -> tuple[list[Conversation], Ledger]:
    """Every usable row of a source as a conversation, and the ledger of all rows.

    With `answered`, the last turn is the assistant's, and map_messages of plugins is applied.
    UserError when no row at all can be used.
    """
    recipes = hooks.merge("register_datasets")
    rows = hooks.first(
        "load_rows", source=str(recipes.get(source, source)), split=config.dataset_split,
        subset=config.dataset_subset,
    )  # fmt: skip
    if rows is None:
        raise unknown("dataset", source, recipes)
    faults = []
    rows = list(without_faults(rows, faults))
    if not rows and not faults:
        raise UserError(f"{source} is empty: it holds no rows.")
    formats = guarded_formats(hooks)
    rows = mapped(source, rows, config.map)
    if rows:
        check_columns(source, rows, formats, answered)
    plugged = answered and hooks.has("map_messages")
    ledger, kept = Ledger(source, read=len(rows) + len(faults), dropped=faults), []
    for where, row in rows:
        try:
            messages = messages_of(row, formats, answered)
        except Unusable as error:
            ledger.drop(where, str(error))
            continue
        if plugged:
            messages, dropped_by = hooks.chain("map_messages", "messages", messages, may_drop=True)
            if dropped_by:
                ledger.drop(where, f"dropped by plugin {dropped_by}")
                continue
            problem = order_problem(messages, answered)
            if problem:
                ledger.drop(where, f"after map_messages of plugins: {problem}")
                continue
        kept.append(Conversation(where, messages))
    ledger.kept, ledger.fingerprint = len(kept), fingerprint(kept)
    if not kept:
        raise UserError(*(f"{source}: no row can be used.", *ledger.lines()[1:]))
    return kept, ledger


def without_faults(rows, faults: list[tuple[str, str]]):
    """The rows that can be read; what was wrong with the others goes to `faults`."""
    for where, row in rows:
        if isinstance(row, Unusable):
            faults.append((where, str(row)))
        else:
            yield where, row


def guarded_formats(hooks) -> dict[str, Format]:
    """The formats by name; one of a plugin names it when it raises."""
    return {
        name: form if plugin.is_builtin else guarded_format(name, form, plugin, hooks)
        for name, (form, plugin) in hooks.owned("register_formats").items()
    }


def guarded_format(name: str, form: Format, plugin, hooks) -> Format:
    what = f"the format '{name}'"

    def messages(row):
        answer = hooks.guarded_call(plugin, what, form.messages, row, lets=(Unusable,))
        if answer is PASSED_OVER:
            raise Unusable(f"{what} of plugin {plugin.name} raised")
        return answer

    return form._replace(messages=messages)


def mapped(source: str, rows: list, pairs: tuple) -> list[tuple[str, dict]]:
    """The rows with the columns of --map under their new names, which win over columns there."""
    known = dict.fromkeys(column for _, row in rows for column in row) if pairs else ()
    for name, column in pairs:
        if column not in known:
            raise UserError(
                f"--map {name}={column}: {source} has no column '{column}'."
                f"{did_you_mean(column, known)} Its columns: {', '.join(map(str, known))}."
            )
    taken = {column for _, column in pairs}
    return [
        (
            where,
            {column: value for column, value in row.items() if column not in taken}
            | {name: row[column] for name, column in pairs if column in row},
        )
        for where, row in rows
    ]


def messages_of(row: dict, formats: dict[str, Format], answered: bool) -> list[dict]:
    """A row's messages, in right order; Unusable says why not."""
    form = format_of(row, formats)
    if form is None:
        raise Unusable(f"no known columns among {', '.join(map(str, row))}")
    if answered and form.answer in row and is_blank(row[form.answer]):
        raise Unusable(f"{form.answer} is empty")
    messages = form.messages(row)
    problem = order_problem(messages, answered)
    if problem:
        raise Unusable(problem)
    return messages


def format_of(row: dict, formats: dict[str, Format]) -> Format | None:
    matching = (f for f in formats.values() if all(column in row for column in f.columns))
    return next(matching, None)


def check_columns(source: str, rows: list, formats: dict[str, Format], answered: bool) -> None:
    """UserError when no row of a source has the columns of any format."""
    forms = {tuple(row): format_of(row, formats) for _, row in rows}
    for columns, form in forms.items():
        if form and (not answered or form.answer is None or form.answer in columns):
            return
    columns, form = next(iter(forms.items()))
    kinds = [" + ".join([*f.columns, *([f.answer] if f.answer else [])]) for f in formats.values()]
    form = form or formats["alpaca"]
    wanted = [*form.columns, form.answer] if answered else form.columns
    flags = [f"--map {name}=COLUMN" for name in wanted if name not in columns]
    raise UserError(
        f"{source} has the columns {', '.join(map(str, columns)) or '(none)'}; expected "
        f"{' or '.join(kinds)}. Name yours with {' '.join(flags)}."
    )


def fingerprint(conversations: list[Conversation]) -> str:
    """A hash of all messages in order; the same data gives the same fingerprint."""
    digest = hashlib.sha256()
    for conversation in conversations:
        digest.update(json.dumps(conversation.messages, ensure_ascii=False).encode() + b"\n")
    return digest.hexdigest()[:16]
