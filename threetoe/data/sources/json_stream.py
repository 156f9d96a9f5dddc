"""A JSON text that is read value by value, holding no more of it than one."""

import json
import re
from collections.abc import Iterator

from threetoe.data.sources.text_file import MARK
from threetoe.errors import UserError, first_line

BLOCK = 1 << 20  # characters
LONGEST_WORD = 16  # of JSON: what is cut inside a number, \u1234 or -Infinity breaks this near
SPACE = re.compile(r"[ \t\n\r]*").match
DECODER = json.JSONDecoder()


class Cursor:
    """A place in a JSON text that is read block by block; what is passed is let go."""

    def __init__(self, text, name: str):
        self.file, self.name = text, name
        self.text, self.place, self.ended = "", 0, False
        self.line, self.seen = 1, 0  # the line of self.text[self.seen]
        self.marked = False  # whether the last value had bytes that are not of the encoding

    def more(self) -> None:
        """Read on. What is kept doubles with every try, so a long row costs no square."""
        self.here()
        rest = self.text[self.place :]
        block = self.file.read(max(BLOCK, len(rest)))
        self.ended = not block
        self.text, self.place, self.seen = rest + block, 0, 0

    def here(self) -> int:
        """The line of the place."""
        self.line += self.text.count("\n", self.seen, self.place)
        self.seen = self.place
        return self.line

    def peek(self) -> str:
        """The next character that is no space, which is where the place is then; '' at the end."""
        while True:
            self.place = SPACE(self.text, self.place).end()
            if self.place < len(self.text):
                return self.text[self.place]
            if self.ended:
                return ""
            self.more()

    def value(self):
        """The value at the place, which moves behind it."""
        while True:
            try:
                value, end = DECODER.raw_decode(self.text, self.place)
            except json.JSONDecodeError as error:
                if self.ended or not is_cut(error, self.text):
                    line = self.here() + self.text.count("\n", self.place, error.pos)
                    raise self.broken(error.msg, line) from error
            except (ValueError, RecursionError) as error:  # a number too long, brackets too deep
                raise self.broken(first_line(error)) from error
            else:
                if end < len(self.text) or self.ended:
                    self.marked = self.text.find(MARK, self.place, end) >= 0
                    self.place = end
                    return value
            self.more()

    def items(self) -> Iterator[tuple[int, object]]:
        """(line, value) of each item of the list at the place, which moves behind the list."""
        self.place += 1
        if self.peek() == "]":
            self.place += 1
            return
        while True:
            self.peek()
            yield self.here(), self.value()
            char = self.peek()
            self.place += 1
            if char == "]":
                return
            if char != ",":
                self.place -= 1
                raise self.broken("expected ',' or ']' after a row")

    def fields(self) -> Iterator[str]:
        """The keys of the object at the place. Take each one's value before the next key."""
        self.place += 1
        if self.peek() == "}":
            self.place += 1
            return
        while True:
            if self.peek() != '"':
                raise self.broken("expected a name in quotes")
            key = self.value()
            if self.peek() != ":":
                raise self.broken("expected ':' after a name")
            self.place += 1
            self.peek()
            yield key
            char = self.peek()
            if char not in (",", "}"):
                raise self.broken("expected ',' or '}' in an object")
            self.place += 1
            if char == "}":
                return

    def broken(self, problem: str, line: int | None = None) -> UserError:
        return UserError(
            f"{self.name}:{line or self.here()}: broken JSON: {problem.rstrip('.: ')}."
        )


def is_cut(error: json.JSONDecodeError, text: str) -> bool:
    """Whether a value may be whole once more of the text is read."""
    return error.msg.startswith("Unterminated") or error.pos >= len(text) - LONGEST_WORD


def pass_over(cursor: Cursor) -> None:
    """Move behind a value, holding no more of it than an item of a list."""
    char = cursor.peek()
    if char == "[":
        for _ in cursor.items():
            pass
    elif char == "{":
        for _ in cursor.fields():
            pass_over(cursor)
    else:
        cursor.value()
