"""The columns of a row: --map renames them, the format is found by them, --labels by the answer.

What holds for one set of columns is found once for it.
"""

from collections.abc import Iterator
from functools import lru_cache, partial

from threetoe.data.formats import ABOUT, READ_KEYS
from threetoe.data.ledger import listed
from threetoe.errors import UserError, did_you_mean
from threetoe.messages import Format, Unusable, code_of, is_blank, order_problem

SHAPES = 10_000  # sets of columns that are remembered


def guarded_formats(hooks, config) -> dict[str, Format]:
    """The formats by name; one of a plugin names it when it raises."""
    formats = {}
    for name, (form, plugin) in hooks.owned("register_formats", config=config).items():
        call = partial(plugin.call, f"the format '{name}'", form.messages, lets=(Unusable,))
        formats[name] = form if plugin.is_builtin else form._replace(messages=call)
    return formats


class ColumnNames:
    """What --map and --instruction make of the columns of rows."""

    def __init__(self, pairs: tuple, instruction: str | None = None):
        self.pairs, self.constant = pairs, {"instruction": instruction} if instruction else {}
        names = [*(name for name, _ in pairs), *self.constant]
        for name in {name for name in names if names.count(name) > 1}:
            theirs = [f"--map {given}={column}" for given, column in pairs if given == name]
            theirs += ["--instruction"] if name in self.constant else []
            raise UserError(f"{' and '.join(theirs)}: one column can have the name {name}.")
        self.known: dict[str, None] = {}  # columns that rows have had
        self.found: dict[tuple, dict[str, str]] = {}  # of rows with these columns: {name: column}

    def applied(self, rows: Iterator) -> Iterator:
        """The rows with columns under their new names, which win over columns there."""
        for where, row in rows:
            if not isinstance(row, Unusable) and (self.pairs or self.constant):
                found = self.found_in(tuple(row))
                taken = set(found.values())
                own = {column: value for column, value in row.items() if column not in taken}
                row = own | {name: row[column] for name, column in found.items()} | self.constant
            yield where, row

    def found_in(self, columns: tuple) -> dict[str, str]:
        found = self.found.get(columns)
        if found is None:
            found = {name: there for name, asked in self.pairs if (there := alike(asked, columns))}
            if len(self.found) < SHAPES:
                self.found[columns] = found
                self.known.update(dict.fromkeys(columns))
        return found

    def check(self, source: str) -> None:
        """UserError with each --map that names a column that no row had."""
        wrong = [(n, column) for n, column in self.pairs if not alike(column, tuple(self.known))]
        if wrong and self.known:
            theirs = f"Its columns: {listed(self.known)}."
            raise UserError(
                *(
                    f"--map {name}={column}: {source} has no column '{column}'."
                    f"{did_you_mean(column, self.known)} {theirs}"
                    for name, column in wrong
                )
            )


@lru_cache(SHAPES)
def alike(name: str, columns: tuple) -> str | None:
    """The column of a name; else, of another case, the only one."""
    if name in columns:
        return name
    found = [column for column in columns if str(column).lower() == name.lower()]
    return found[0] if len(found) == 1 else None


class Recogniser:
    """Rows become messages; Unusable says why one does not."""

    def __init__(self, formats: dict[str, Format], labels: tuple, answered: bool):
        self.formats, self.answered = formats, answered
        self.labels = {code_of(code): text for code, text in labels}
        self.shapes: dict[tuple, tuple[Format | None, dict]] = {}
        self.spelled = False  # whether --labels has given a code its text
        self.unused: dict[str, None] = {}  # columns, and keys of messages
        self.names = {*ABOUT}
        for form in formats.values():
            self.names |= {*form.columns, *form.optional, form.answer}

    def messages_of(self, row: dict) -> list[dict]:
        """A row's messages in right order."""
        form, names = self.shape_of(tuple(row))
        if form is None:
            raise Unusable(f"no known columns among {listed(row)}")
        if names:
            row = {names.get(column, column): value for column, value in row.items()}
        if form.answer in row and (self.labels or self.answered):
            row = self.with_answer(row, form.answer)
        messages = form.messages(row)
        self.note_keys(row, form.columns[0])
        problem = order_problem(messages, self.answered)
        if problem:
            raise Unusable(problem)
        return messages

    def with_answer(self, row: dict, column: str) -> dict:
        value = row[column]
        if is_blank(value):
            if self.answered:
                raise Unusable(f"{column} is empty")
            return row
        if not self.labels:
            return row
        text = self.labels.get(code_of(value))
        if text is None:
            raise Unusable(f"{column} has a code that --labels does not name")
        self.spelled = True
        return {**row, column: text}

    def note_keys(self, row: dict, column: str) -> None:
        """Note what messages carry that no format reads."""
        turns = row[column] if type(row[column]) is list else ()
        for turn in turns:
            for key, value in turn.items() if isinstance(turn, dict) and len(turn) > 2 else ():
                if key not in READ_KEYS and value:
                    self.unused[f"{column}.{key}"] = None

    def shape_of(self, columns: tuple) -> tuple[Format | None, dict]:
        """The format of rows with these columns, and {column there: the format's name for it}."""
        found = self.shapes.get(columns)
        if found is None:
            lowered = {c: str(c).strip().lower() for c in columns if c not in self.names}
            names = {c: name for c, name in lowered.items() if name in {*self.names} - {*columns}}
            form = format_of(tuple(names.get(c, c) for c in columns), self.formats)
            if form:
                used = {*form.columns, *form.optional, form.answer, *ABOUT}
                self.unused |= {c: None for c in columns if names.get(c, c) not in used}
            found = form, names
            if len(self.shapes) < SHAPES:
                self.shapes[columns] = found
        return found

    def check(self, source: str) -> None:
        """UserError when no row of a source had the columns of any format."""
        for columns, (form, _) in self.shapes.items():
            if form and (not self.answered or form.answer is None or form.answer in lower(columns)):
                return
        if not self.shapes:
            return
        columns, (form, _) = next(iter(self.shapes.items()))
        raise UserError(self.unknown_columns(source, columns, form or self.formats["alpaca"]))

    def unknown_columns(self, source: str, columns: tuple, form: Format) -> str:
        """What is said of columns that no format can be made of."""
        there = f"{source} has the columns {listed(columns) or '(none)'}"
        if {"chosen", "rejected"} <= {*lower(columns)}:
            return (
                f"{there}: pairs of a better and a worse answer, which are not trained. The better "
                "ones alone are, with --map completion=chosen, or with --map messages=chosen where "
                "they are whole conversations."
            )
        wanted = [*form.columns, form.answer] if self.answered else form.columns
        flags = [f"--map {name}=COLUMN" for name in wanted if name not in columns]
        constant = ""
        if form is self.formats["alpaca"] and "instruction" not in columns:
            constant = "; where no column has a task, --map input=COLUMN and --instruction TEXT"
        return (
            f"{there}; expected {' or '.join(map(kind, self.formats.values()))}. Name yours with "
            f"{' '.join(flags)}{constant}."
        )


def format_of(columns: tuple, formats: dict[str, Format]) -> Format | None:
    """The first format whose columns are among these."""
    for form in formats.values():
        others = set(columns) - {*form.columns, *ABOUT} if form.alone else ()
        if all(column in columns for column in form.columns) and not others:
            return form
    return None


def kind(form: Format) -> str:
    return " + ".join([*form.columns, *([form.answer] if form.answer else [])])


def lower(columns) -> list[str]:
    return [*columns, *(str(column).strip().lower() for column in columns)]
