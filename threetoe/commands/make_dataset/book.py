"""A book's file as text: plain text in any encoding, or a PDF, without its page furniture."""

import codecs
import logging
import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

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
    with reading(path):
        content = path.read_bytes()
    if content.startswith(ZIP):
        raise UserError(f"{path} is no text; convert it first: pandoc {path} -t plain -o book.txt")
    if content.startswith(b"%PDF-"):
        pages = read_pdf(path)
    else:
        text = BREAKS.sub("\n", decoded(path, content, encoding)).replace("\u2029", "\n\n")
        pages = text.split("\f")
    book = without_furniture([page.split("\n") for page in pages]) if len(pages) > 1 else None
    book = book or Book(pages[0])
    if not book.text.strip():
        raise UserError(f"{path} holds no text; scanned pages need a text recognition (OCR) first.")
    return book


def decoded(path: Path, content: bytes, encoding: str) -> str:
    try:
        name = codecs.lookup(encoding).name
        text = content.decode("utf-8-sig" if name == "utf-8" else name)
    except LookupError:
        raise UserError(f"--encoding {encoding}: Python knows no such encoding.") from None
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: not {encoding} at byte {error.start}; name its encoding, such as "
            "--encoding latin-1."
        ) from error
    if "\0" in text:
        raise UserError(f"{path} is no text in {encoding}: there is a NUL byte in it.")
    return text


def read_pdf(path: Path) -> list[str]:
    """The text of each page; UserError where pypdf is missing or cannot read the file."""
    try:
        import pypdf
        from pypdf.errors import PyPdfError
    except ImportError as error:
        raise UserError(f'{path} is a PDF: pip install "threetoe[data]" to read it.') from error
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # what it could mend is no news
    try:
        pages = [page.extract_text() for page in pypdf.PdfReader(path).pages]
    except (PyPdfError, ValueError, KeyError, TypeError, NotImplementedError) as error:
        raise UserError(f"{path} cannot be read as a PDF: {first_line(error)}.") from error
    joined = "\f".join(pages).encode("utf-8", "replace").decode()  # halves of surrogate pairs
    return BREAKS.sub("\n", joined).split("\f")


def without_furniture(pages: list[list[str]]) -> Book:
    """The pages as one text. A sentence may go on on the next page, so no blank line is put
    between two pages."""
    pages = [trimmed(lines) for lines in pages]
    numbers = heads = 0
    for _ in range(2):  # a number may stand below a running head
        edges = Counter(key for lines in pages for key in {head(line) for line in edge(lines)})
        often = {key for key, count in edges.items() if key and count > max(2, len(pages) / 2)}
        for lines in pages:
            for place in (0, -1):
                if lines and NUMBER.fullmatch(lines[place]):
                    numbers += 1
                elif lines and head(lines[place]) in often:
                    heads += 1
                else:
                    continue
                del lines[place]
                lines[:] = trimmed(lines)
    return Book("\n".join("\n".join(lines) for lines in pages if lines), numbers, heads)


def edge(lines: list[str]) -> list[str]:
    return [lines[0], lines[-1]] if lines else []


def head(line: str) -> str:
    """A line as it would stand on other pages too: without the page's number at an end of it."""
    return re.sub(r"^[\d\s]+|[\d\s]+$", "", line)


def trimmed(lines: list[str]) -> list[str]:
    """Lines without blank ones before and behind."""
    filled = [place for place, line in enumerate(lines) if line.strip()]
    return lines[filled[0] : filled[-1] + 1] if filled else []
