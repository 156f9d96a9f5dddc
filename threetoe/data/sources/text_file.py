"""Opens a text file of rows: encoding, BOM, gzip, and bytes that are not of the encoding."""

import codecs
import gzip
import io
import re
import zlib
from contextlib import contextmanager
from encodings.aliases import aliases
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from threetoe.errors import UserError, did_you_mean, reading
from threetoe.messages import Unusable

MARK = "\udcff"  # stands where bytes were not of the encoding; no encoding has a text for it
BOMS = (  # the longer first: UTF-32's begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32-le", "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32-be", "utf-32"),
    (codecs.BOM_UTF8, "utf-8", "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le", "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16-be", "utf-16"),
)
TRIED = (  # (what must be able to read the first lines, what is then suggested)
    ("utf-8", "utf-8"),
    ("gb2312", "gb18030"),
    ("big5", "big5"),
    ("shift_jis", "shift_jis"),
    ("gb18030", "gb18030"),
    ("cp1252", "cp1252"),
)
SAMPLE = 1 << 18  # bytes
BLOCK, MOST_HELD = 1 << 20, 1 << 30  # characters, of 1 to 4 bytes each
LONGEST_LINE = 1 << 25  # characters; no row is longer
MOST_UNZIPPED = 1 << 25  # bytes of any .gz; of a larger one, so many times what it is itself:
MOST_TIMES = 50
codecs.register_error("threetoe.mark", lambda error: (MARK, error.end))


class TextFile(NamedTuple):
    """A file of rows; `name` stands for it in messages, `kind` where its name has no suffix."""

    path: Path
    name: str
    encoding: str = "utf-8"
    field: str | None = None
    kind: str | None = None

    def open(self, newline: str | None = None):
        """The text, unzipped, without its BOM; MARK stands for bytes that are not the encoding's.

        UserError for an encoding that is none, and for a BOM of another one.
        """
        file = self.open_bytes()
        bom, encoding = self.bom_of(file.peek(4)[:4])
        file.read(len(bom))
        return io.TextIOWrapper(file, encoding, "threetoe.mark", newline)

    def open_bytes(self):
        file = self.path.open("rb")
        is_zipped = file.peek(2)[:2] == b"\x1f\x8b"
        return io.BufferedReader(Unzipped(file, self), SAMPLE) if is_zipped else file

    def whole(self) -> str:
        """All of its text; UserError where it is too much to be held."""
        with self.open() as text:
            blocks = list(islice(iter(partial(text.read, BLOCK), ""), MOST_HELD // BLOCK + 1))
        if len(blocks) > MOST_HELD // BLOCK:
            raise UserError(
                f"{self.name}: has more than {MOST_HELD:,} characters; write a row on each line, "
                "in a .jsonl, which is read line by line."
            )
        return "".join(blocks)

    def lines(self, text):
        """The lines of its opened text; UserError at one that would take all memory."""
        for number, line in enumerate(iter(partial(text.readline, LONGEST_LINE), ""), 1):
            if len(line) == LONGEST_LINE:
                raise UserError(
                    f"{self.name}:{number}: a line of more than {LONGEST_LINE:,} characters; no "
                    "row is so long."
                )
            yield line

    def bom_of(self, start: bytes) -> tuple[bytes, str]:
        """(the BOM that a file starts with, the encoding of what follows)."""
        asked = checked_encoding(self.encoding)
        for bom, exact, family in BOMS:
            if start.startswith(bom):
                if asked not in (exact, family):
                    raise UserError(
                        f"{self.name}:1: starts with the mark (BOM) of {family}, and is read as "
                        f"{self.encoding}: --encoding {family}."
                    )
                return bom, exact
        for zeros, exact in (((1, 3), "utf-16-le"), ((0, 2), "utf-16-be")):
            if asked == "utf-8" and [n for n, byte in enumerate(start) if not byte] == list(zeros):
                raise UserError(f"{self.name}:1: looks like UTF-16: --encoding {exact}.")
        return b"", asked

    def not_decoded(self) -> Unusable:
        """The fault of a row with a MARK in it."""
        return Unusable(f"not {checked_encoding(self.encoding).upper()}; {self.mending()}")

    def mending(self) -> str:
        asked = checked_encoding(self.encoding)
        likely = likely_encoding(self.path, self.path.stat().st_mtime_ns, asked)
        if likely is None:
            return "--encoding says which encoding it is"
        return f"its first lines could be {likely}: --encoding {likely}"

    @contextmanager
    def reading(self):
        """Turns what can go wrong with the bytes of a file into a UserError that names it."""
        try:
            with reading(Path(self.name)):
                yield
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise UserError(f"{self.name}: damaged or cut short: {error}") from error
        except UnicodeError as error:  # of the few encodings that know no marks
            raise UserError(f"{self.name} cannot be read as {self.encoding}: {error}.") from error


class Unzipped(io.RawIOBase):
    """The bytes of a .gz. UserError where it goes on and on: rows shrink to a tenth, not to a
    hundredth."""

    def __init__(self, file, named: TextFile):
        self.file, self.unzipped, self.name = file, gzip.GzipFile(fileobj=file), named.name
        self.room = max(MOST_UNZIPPED, MOST_TIMES * named.path.stat().st_size)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        data = self.unzipped.read1(len(buffer))
        self.room -= len(data)
        if self.room < 0:
            raise UserError(
                f"{self.name}: unpacks to more than {MOST_TIMES} times its size, as no rows do; "
                "if it is right, unpack it first."
            )
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self.unzipped.close()
        self.file.close()
        super().close()


def checked_encoding(name: str) -> str:
    """Python's own name of a text encoding; UserError for a name that is none."""
    try:
        found = codecs.lookup(name)
    except (LookupError, ValueError):  # ValueError: a NUL in the name
        found = None
    if found is None or not found._is_text_encoding:
        known = [*aliases, *aliases.values(), "utf-8", "utf-16", "utf-32", "latin-1"]
        raise UserError(f"--encoding {name}: no such encoding.{did_you_mean(name, known)}")
    return "utf-8" if found.name == "utf-8-sig" else found.name


@cache
def likely_encoding(path: Path, changed: int, asked: str) -> str | None:
    """An encoding that could be meant, for it reads a file's first lines without a fault.

    None where most lines are of the encoding that was asked for. Words with few bytes over 127
    have letters with accents, not characters of two bytes. `changed`: the file's time.
    """
    with TextFile(path, "").open_bytes() as file:
        sample = file.read(SAMPLE)
    text = sample[: sample.rfind(b"\n") + 1] or sample
    lines = [line for line in text.splitlines() if not line.isascii()]
    if b"\0" in text or sum(can_decode(line, asked) for line in lines) > len(lines) / 2:
        return None
    words = b"".join(re.findall(rb"[@-~]*[\x80-\xff][@-~\x80-\xff]*", text))
    if sum(byte > 127 for byte in words) <= len(words) / 2:
        return "cp1252" if asked != "cp1252" else None
    return next((name for codec, name in TRIED if name != asked and can_decode(text, codec)), None)


def can_decode(text: bytes, encoding: str) -> bool:
    try:
        text.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True
