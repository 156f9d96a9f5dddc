"""Named datasets: a recipe (datasets/*.yaml) says where rows come from and how they are read."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from threetoe.data.recipes.checks import SPLITS, problems_of
from threetoe.data.recipes.columns import Columns, items_of, labelled, parts_of, rendered
from threetoe.data.recipes.options import choices_of, choose, texts_of
from threetoe.data.recipes.shapes import NAMED, arguments_of
from threetoe.errors import UserError, no_such_file, unknown
from threetoe.machine.files import read_yaml


@dataclass(frozen=True)
class Recipe:
    """The lines of a recipe, its options filled in."""

    name: str
    path: Path
    options: dict  # {name: {"default": ..., "choices": ...}}, as the file has them
    chosen: dict  # {name: value}
    description: str = ""
    license: str = ""
    source: str = ""  # a Hub id; "" where files lie beside the recipe, or the user brings one
    bring: str = ""  # what file the user brings, and where it comes from
    subset: str | None = None
    splits: dict = field(default_factory=dict)  # {ours: the source's, or a file beside the recipe}
    labels: dict = field(default_factory=dict)  # {column: {code: text}}
    skip: dict = field(default_factory=dict)  # {column: regular expression}
    each: str = ""  # a column with a list: every item is a row
    row: dict = field(default_factory=dict)  # {instruction, output ...: text with {column}s}
    format: tuple | None = None  # (name in NAMED, its arguments)
    example: tuple = ()  # made-up rows of the source's shape

    def location(self, split: str, dataset_path: str | None = None) -> tuple[str, str]:
        """(file, folder or Hub id; its name of the split). UserError when there is neither."""
        name, slice_, rest = split.partition("[")
        theirs = self.splits.get(name, name) + slice_ + rest
        if dataset_path:
            path = Path(dataset_path).expanduser()
            if dataset_path != "-" and not path.exists():
                raise no_such_file(path)
            return str(path), split if self.is_bundled else theirs
        if self.source:
            return self.source, theirs
        if not self.splits:
            raise UserError(
                f"The dataset '{self.name}' brings no rows of its own; it reads {self.bring}. "
                "Give yours: --dataset-path FILE."
            )
        if split not in self.splits:
            raise unknown(f"split of {self.name}", split, self.splits)
        return str(self.path.parent / self.splits[split]), split

    @property
    def is_bundled(self) -> bool:
        """Whether its rows lie in files beside the recipe."""
        return bool(self.splits) and not self.source

    def apply(self, rows: Iterable, answered: bool = True) -> Iterator:
        """The rows in a known format: {messages} or {system, instruction, input, output}.

        Takes and yields (where, row), a row perhaps an Unusable. UserError when the rows lack a
        column. Without `answered` a row whose answer cannot be had is a question.
        """
        columns = Columns(self.name)
        if self.each:
            rows = items_of(rows, self.each, columns)
        if self.labels or self.skip:
            rows = labelled(rows, self.labels, self.skip, columns, answered)
        if self.format:
            name, arguments = self.format
            return NAMED[name](rows, columns, **arguments)
        return rendered(rows, self.row, columns, answered) if self.row else iter(rows)

    def guarded(self, rows: Iterable, dataset_path: str | None = None) -> Iterator:
        """The rows of its source; what the Hub does not give names recipe, id and flag."""
        try:
            yield from rows
        except UserError as error:
            if dataset_path or not self.source:
                raise
            _, found, why = str(error).partition("from the Hub: ")  # as hub_rows says it
            why, copy, _ = (why if found else str(error)).partition(" Give a local copy")
            hint = "; give a local copy: --dataset-path FOLDER_OR_FILE" * bool(copy or not found)
            raise UserError(
                f"The dataset '{self.name}' ({self.source} on the Hub) cannot be read: "
                f"{why.rstrip('.')}{hint}."
            ) from error


def read_recipe(path: Path, options: Iterable = (), name: str | None = None) -> Recipe:
    """The recipe in a YAML file, under the name it is asked for, with the (name, value) options.

    UserError has a line for everything that is wrong with the file or the options.
    """
    path = Path(path)
    name = name or path.stem
    return Recipe(name=name, path=path, **read_values(path, name, options))


def find_recipe(name: str, known: dict, options: Iterable = ()) -> Recipe | None:
    """The recipe of a name, or of a YAML file of one's own; None for any other source."""
    if name in known:
        return read_recipe(known[name], options, name)
    if name.lower().endswith((".yaml", ".yml")):
        return read_recipe(Path(name).expanduser(), options)
    return None


def read_values(path: Path, name: str, given: Iterable[tuple[str, str]]) -> dict:
    """The fields of a recipe.Recipe; UserError with a line for everything that is wrong."""
    values, lines = read_yaml(path)
    if not isinstance(values, dict):
        raise UserError(f"{path}:1: a dataset has lines such as 'train: rows.jsonl'.")
    problems = [f"{path}:{line_of(place, lines)}: {what}" for place, what in problems_of(values)]
    if problems:
        raise UserError(*problems)
    options = values.pop("options", {})
    chosen = choose(name, options, given)
    for option, value in chosen.items():
        overlay = choices_of(options[option]).get(value)
        if isinstance(overlay, dict):
            values |= overlay
    example = values.pop("example", ())
    texts = texts_of(options, chosen)
    row = filled(values.pop("row", {}), {key: doubled(text) for key, text in texts.items()})
    for key, text in row.items():
        check_slots(text, f"{path}:{line_of(('row', key), lines)}: row: '{key}'")
    values = filled(values, texts)
    splits = values.pop("splits", {}) | {s: values.pop(s) for s in SPLITS if s in values}
    return {
        **values, "row": row, "format": format_of(values.get("format"), path, lines),
        "splits": splits, "options": options, "chosen": chosen, "example": tuple(example),
    }  # fmt: skip


def line_of(place: tuple, lines: dict[tuple, int]) -> int:
    """The line of the nearest key at or above a place."""
    place = tuple(map(str, place))
    return next((lines[place[:n]] for n in range(len(place), 0, -1) if place[:n] in lines), 1)


def check_slots(text: str, where: str) -> None:
    """UserError when an option's value has broken a {column}."""
    try:
        parts_of(text)
    except ValueError as error:
        raise UserError(f"{where}: with the options given, {error}.") from error


def doubled(text: str) -> str:
    """The text with its braces as a row's text spells them, so that they fill in nothing."""
    return text.replace("{", "{{").replace("}", "}}")


def filled(value, texts: dict[str, str]):
    """The value with {option}s replaced in all its texts, once."""
    if isinstance(value, dict):
        return {key: filled(below, texts) for key, below in value.items()}
    if not isinstance(value, str) or not texts:
        return value
    pattern = "|".join(map(re.escape, texts))
    return re.sub(rf"(?<!\{{)\{{({pattern})\}}", lambda found: texts[found[1]], value)


def format_of(value, path: Path, lines: dict) -> tuple[str, dict] | None:
    """(name, arguments) of a recipe's 'format', whole numbers as such."""
    if value is None:
        return None
    name, arguments = (value, {}) if isinstance(value, str) else next(iter(value.items()))
    kinds, arguments = arguments_of(name), dict(arguments or {})
    for key, text in arguments.items():
        if kinds[key].annotation is int:
            if not re.fullmatch("[0-9]{1,9}", str(text)):
                line = line_of(("format", name, key), lines)
                raise UserError(f"{path}:{line}: format: '{key}' is {text}, not a whole number.")
            arguments[key] = int(text)
    return name, arguments
