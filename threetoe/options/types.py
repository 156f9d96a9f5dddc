"""The kinds of values that options take, each with what is wrong with one that is not."""

import errno
import json
import math
import os
import re
from dataclasses import field
from datetime import datetime, time, timedelta
from pathlib import Path

import click

MOST = 10**9  # steps, rows, tokens: what no count reaches, and libraries still can count to

AUTO = "auto"  # in the place of a number: it is chosen

UNWRITABLE = re.compile("[\0\ud800-\udfff]")  # no file's name has the one, UTF-8 not the others


def option(default, help, type=click.STRING, group="Options", **extra):
    """A dataclass field that becomes a flag, where it is True by default with its --no-; `extra`
    goes to click.Option as it is."""
    if isinstance(default, bool):
        type, extra["switch" if default else "is_flag"] = click.BOOL, True
    return field(default=default, metadata={"help": help, "type": type, "group": group, **extra})


class Words(click.ParamType):
    """A list given as one value: words with commas between, or a YAML list."""

    name = "a,b,..."

    def convert(self, value, param, ctx):
        words = value.split(",") if isinstance(value, str) else value
        words = tuple(str(word).strip() for word in words if str(word).strip())
        return words or self.fail("it names nothing.", param, ctx)


class Among(Words):
    """Words, each one of those that are known; none in a run.json that had none."""

    def __init__(self, *known: str):
        self.known, self.name = known, "|".join(known)

    def convert(self, value, param, ctx):
        words = super().convert(value, param, ctx) if value else ()
        for word in words:
            if word not in self.known:
                self.fail(f"{word} is none of {', '.join(self.known)}.", param, ctx)
        return words


class FilePath(click.Path):
    """A Path; ~ is the home folder, also where no shell has expanded it."""

    def __init__(self, **okay):
        super().__init__(path_type=Path, **okay)

    def convert(self, value, param, ctx):
        if fault := find_fault_in_place(str(value)):
            self.fail(fault, param, ctx)
        return super().convert(os.path.expanduser(value), param, ctx)


class Place(click.ParamType):
    """A name, or the path of a file or folder; a text as it was given."""

    name = "text"

    def convert(self, value, param, ctx):
        if fault := find_fault_in_place(value):
            self.fail(fault, param, ctx)
        return value


def find_fault_in_text(text: str) -> str | None:
    """Why a text can be no option's value; None when it can."""
    if found := UNWRITABLE.search(text):
        kind = "the character NUL" if found[0] == "\0" else "a byte that is not UTF-8"
        return f"{ascii(text)} holds {kind}"
    return None


def find_fault_in_place(place: str) -> str | None:
    """Why nothing can be read or written at a path; None for one that may be there or not."""
    path = os.path.expanduser(place)
    if place.startswith("~") and path == place and not os.path.lexists(path):
        return f"{place}: there is no such home folder."
    try:
        os.stat(path)
    except FileNotFoundError:
        if os.path.islink(path):
            return f"{place} is a link to {os.readlink(path)}, and nothing is there."
    except OSError as error:
        if error.errno == errno.ELOOP:
            return f"{place} is a link that leads to itself."
    return None


class Pair(click.ParamType):
    """NAME=VALUE, as a pair of texts."""

    name = "name=value"

    def __init__(self, may_be_empty: bool = False):
        self.may_be_empty = may_be_empty  # the value

    def convert(self, value, param, ctx):
        if isinstance(value, str):
            name, equals, text = value.partition("=")
            if not (name and equals and (text or self.may_be_empty)):
                self.fail(f"'{value}' is not of the form NAME=VALUE.", param, ctx)
            value = (name, text)
        if len(value) != 2:
            self.fail(f"{value} is not a pair NAME=VALUE.", param, ctx)
        return tuple(map(str, value))


class FiniteRange(click.FloatRange):
    """A number in a range; nan, which no comparison refuses, and inf are not."""

    name = "number"

    def convert(self, value, param, ctx):
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{number} is not a finite number.", param, ctx)
        return number


class Gigabytes(FiniteRange):
    """5, 0.2, 5GB or 200MB; a number of GB."""

    name = "size"

    def __init__(self):
        super().__init__(0, 10**6, min_open=True)

    def convert(self, value, param, ctx):
        text = str(value).strip().upper()
        if text.endswith("MB"):
            return super().convert(text.removesuffix("MB"), param, ctx) / 1000
        return super().convert(text.removesuffix("GB"), param, ctx)


class WholeRange(click.IntRange):
    """A whole number in a range, called that in messages."""

    name = "whole number"


class NumberOrAuto(WholeRange):
    """A whole number, or the word auto."""

    def convert(self, value, param, ctx):
        return value if value == AUTO else super().convert(value, param, ctx)


class Share(click.ParamType):
    """A share between 0 and 1, or a whole number of rows; a text as it was given."""

    name = "0.1|500"

    def convert(self, value, param, ctx):
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not (0 < number < 1 or 1 <= number <= MOST and number.is_integer()):
            self.fail(
                f"{value} is neither a share between 0 and 1 nor a number of rows.", param, ctx
            )
        return str(value)


class Moment(click.ParamType):
    """A time of day, which is the next of that time, or a date with one; a text in ISO 8601."""

    name = "hh:mm"

    def convert(self, value, param, ctx):
        now = datetime.now().astimezone()
        try:
            clock = time.fromisoformat(value)
            moment = datetime.combine(now.astimezone(clock.tzinfo), clock).astimezone()
            moment += timedelta(days=moment <= now)
        except ValueError:
            try:
                moment = datetime.fromisoformat(value).astimezone()
            except ValueError:
                self.fail(f"{value} is no time such as 14:30 (in YAML in quotes).", param, ctx)
        if moment <= now:
            self.fail(f"{value} has passed; it is {now.isoformat(' ', 'minutes')}.", param, ctx)
        return moment.isoformat(timespec="seconds")


class Labels(click.ParamType):
    """Texts for codes, {"0": "Negative"} as JSON; pairs of texts."""

    name = "json"

    def convert(self, value, param, ctx):
        if isinstance(value, tuple):
            return value
        try:
            return tuple((str(code), str(text)) for code, text in json.loads(value).items())
        except (ValueError, AttributeError, RecursionError):
            example = '{"0": "Negative", "1": "Positive"}'
            self.fail(f"{value} is not a JSON object such as {example}.", param, ctx)


PLACE = Place()
PATH = FilePath()
FILE = FilePath(dir_okay=False)
POSITIVE = WholeRange(1, MOST)
SEED = WholeRange(0, 2**32 - 1)  # what numpy and transformers.set_seed take
