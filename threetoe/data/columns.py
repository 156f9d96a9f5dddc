"""The columns of a row: --map renames them, the format is found by them, --labels by the answer.

What holds for one set of columns is found once for it.
"""

from collections.abc import Iterator

from threetoe.data.formats import ABOUT
from threetoe.errors import UserError, did_you_mean
from threetoe.messages import Format, Unusable, code_of, is_blank, order_problem

SHAPES = 10_000  # sets of columns that are remembered
NAMED = 8  # columns in a message


def guarded_formats(hooks, config) -> dict[str, Format]:
    """The formats by name; one of a plugin names it when it raises."""
    return {
        name: form if plugin.is_builtin else guarded_format(name, form, plugin)
        for name, (form, plugin) in hooks.owned("register_formats", config=config).items()
    }


def guarded_format(name: str, form: Format, plugin) -> Format:
    def messages(row):
        return plugin.call(f"the format '{name}'", form.messages, row, lets=(Unusable,))

    return form._replace(messages=messages)


class Mapped:
    """Rows with the columns of --map under their new names, which win over columns there."""

    def __init__(self, rows: Iterator, pairs: tuple):
        self.rows, self.pairs = rows, pairs
        names = [name for name, _ in pairs]
        for name in {name for name in names if names.count(name) > 1}:
            theirs = " and ".join(column for given, column in pairs if given == name)
            raise UserError(f"--map {name}: is given {theirs}; one column can have a name.")
        self.known: dict[str, None] = {}

    def __iter__(self):
        if not self.pairs:
            yield from self.rows
            return
        taken = {column for _, column in self.pairs}
        for where, row in self.rows:
            if not isinstance(row, Unusable):
                if len(self.known) < SHAPES:
                    self.known.update(dict.fromkeys(row))
                own = {column: value for column, value in row.items() if column not in taken}
                row = own | {name: row[column] for name, column in self.pairs if column in row}
            yield where, row

    def check(self, source: str) -> None:
        """UserError when --map names a column that no row had."""
        for name, column in self.pairs:
            if self.known and column not in self.known:
                raise UserError(
                    f"--map {name}={column}: {source} has no column '{column}'."
                    f"{did_you_mean(column, self.known)} Its columns: {listed(self.known)}."
                )


class Recogniser:
    """Rows become messages; Unusable says why one does not."""

    def __init__(self, formats: dict[str, Format], labels: tuple, answered: bool):
        self.formats, self.answered = formats, answered
        self.labels = {code_of(code): text for code, text in labels}
        self.shapes: dict[tuple, tuple[Format | None, dict]] = {}
        self.spelled = False  # whether --labels has given a code its text
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

    def shape_of(self, columns: tuple) -> tuple[Format | None, dict]:
        """The format of rows with these columns, and {column there: the format's name for it}."""
        found = self.shapes.get(columns)
        if found is None:
            lowered = {c: str(c).strip().lower() for c in columns if c not in self.names}
            names = {c: name for c, name in lowered.items() if name in {*self.names} - {*columns}}
            found = format_of(tuple(names.get(c, c) for c in columns), self.formats), names
            if len(self.shapes) < SHAPES:
                self.shapes[columns] = found
        return found

    def check(self, source: str) -> None:
        """UserError when no row of a source had the columns of any format."""
        columns, form = (), None
        for columns, (form, _) in self.shapes.items():
            if form and (not self.answered or form.answer is None or form.answer in lower(columns)):
                return
        if not self.shapes:
            return
        columns, (form, _) = next(iter(self.shapes.items()))
        form = form or self.formats["alpaca"]
        wanted = [*form.columns, form.answer] if self.answered else form.columns
        flags = [f"--map {name}=COLUMN" for name in wanted if name not in columns]
        raise UserError(
            f"{source} has the columns {listed(columns) or '(none)'}; expected "
            f"{' or '.join(map(kind, self.formats.values()))}. Name yours with {' '.join(flags)}."
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


def listed(columns) -> str:
    """Columns in a message; of many the first."""
    names = [str(column)[:40] for column in columns]
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if names[NAMED:] else "")
