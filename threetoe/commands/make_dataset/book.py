"""A book's file as text: plain text in any encoding, or a PDF, without its page furniture."""

import logging
import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from threetoe.data.sources.text_file import MARK, TextFile
from threetoe.errors import UserError, first_line, reading

BREAKS = re.compile("\r\n|[\r\v\x85\u2028]")
NUMBER = re.compile(r"[\s\W]*(?:page|seite|p\.)?[\s\W]*\d+[\s\W]*", re.IGNORECASE)  # "- 12 -"
ZIP = b"PK\x03\x04"  # epub, docx, odt


class Book(NamedTuple):
    text: str
    numbers: int = 0  # page numbers that were dropped
    heads: int = 0  # running heads and feet that were dropped


def read_book(path: Path, encoding: str = "utf-8") -> Book:
    """The text of a book; UserError where it cannot be read, or holds none.

    Pages of a PDF, and of a text with form feeds, lose the first or last line that is only a
    number or stands on most pages.
    """
    with reading(path), path.open("rb") as file:
        start = file.read(5)
    if start.startswith(ZIP):
        raise UserError(f"{path} is no text; convert it first: pandoc {path} -t plain -o book.txt")
    text = "\f".join(read_pdf(path)) if start == b"%PDF-" else read_text(path, encoding)
    pages = BREAKS.sub("\n", text).replace("\u2029", "\n\n").split("\f")
    book = without_furniture([page.split("\n") for page in pages]) if pages[1:] else Book(pages[0])
    if not book.text.strip():
        raise UserError(f"{path} holds no text; scanned pages need a text recognition (OCR) first.")
    return book


def read_text(path: Path, encoding: str) -> str:
    file = TextFile(path, str(path), encoding)
    with file.reading():
        text = file.whole()
    if MARK in text:
        raise UserError(f"{path}: {file.not_decoded()}.")
    if "\0" in text:
        raise UserError(f"{path} is no text in {encoding}: there is a NUL byte in it.")
    return text


def read_pdf(path: Path) -> list[str]:
    """The text of each page; UserError where pypdf is missing or cannot read the file."""
    try:
        import pypdf
        from pypdf.errors import PyPdfError
    except ImportError as error:
        raise UserError(f'{path} is a PDF: pip install -e ".[data]" to read it.') from error
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # what it could mend is no news
    try:
        pages = [page.extract_text() for page in pypdf.PdfReader(path).pages]
    except (PyPdfError, ValueError, KeyError, TypeError, NotImplementedError) as error:
        raise UserError(f"{path} cannot be read as a PDF: {first_line(error)}.") from error
    return [page.encode("utf-8", "replace").decode() for page in pages]  # lone surrogates


def without_furniture(pages: list[list[str]]) -> Book:
    """The pages as one text. A sentence may go on on the next page, so no blank line is put
    between two pages."""
    numbers = heads = 0
    for _ in range(2):  # a number may stand below a running head
        pages = [trimmed(lines) for lines in pages]
        edges = Counter(key for lines in pages for key in {*map(head, lines[:1] + lines[-1:])})
        often = {key for key, count in edges.items() if key and count > max(2, len(pages) / 2)}
        for lines in pages:
            for place in (0, -1):
                is_number = bool(lines) and bool(NUMBER.fullmatch(lines[place]))
                if is_number or lines and head(lines[place]) in often:
                    numbers, heads = numbers + is_number, heads + (not is_number)
                    del lines[place]
    left = ["\n".join(trimmed(lines)) for lines in pages]
    return Book("\n".join(filter(None, left)), numbers, heads)


def head(line: str) -> str:
    """A line as it would stand on other pages too: without the page's number at an end of it."""
    return re.sub(r"^[\d\s]+|[\d\s]+$", "", line)


def trimmed(lines: list[str]) -> list[str]:
    """Lines without blank ones before and behind."""
    filled = [place for place, line in enumerate(lines) if line.strip()]
    return lines[filled[0] : filled[-1] + 1] if filled else []
