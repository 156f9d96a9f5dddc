"""Where sentences end, in languages with spaces between words and in those without."""

import math
import re
from bisect import bisect_right

CLOSERS = "\"'”’»)\\]」』）》"
ENDS_SENTENCE = re.compile(rf"[.!?…。！？][{CLOSERS}]*$")
WIDE = re.compile(r"[\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef]")  # no spaces around
SOFT = "\u00ad"  # a hyphen that is only seen at a line's end
DIVIDED = re.compile(rf"((?:\w+-)*[^\W\d_]+)([-\u2010{SOFT}])$")
END = re.compile(rf"[.!?…]+[{CLOSERS}]*\s+|[。！？…]+[{CLOSERS}]*\s*|\n\n")
CLAUSE = re.compile(r"[,;:—–，；：、]\s*")
WORD_BEFORE = re.compile(r"(?:^|[\s(\"'“‘«])([^\W\d_][\w.]*)\.$")
INITIALS = re.compile(r"(?:[A-Z]\.)*[A-Z]")
# They stand before a name, so that what follows may begin with a capital.
TITLES = set(
    "mr mrs ms dr prof st mt sr jr rev hon gen col capt lt sgt gov sen rep messrs mme mlle vs "
    "ed eds cf e.g i.e viz z.b d.h bzw ca approx u.a".split()
)
BEFORE_NUMBERS = set("no nos vol vols fig figs ch p pp art sec".split())


def sentence_ends(text: str) -> list[int]:
    """The places in a text where a sentence, with the white space behind it, ends."""
    ends = [m.end() for m in END.finditer(text) if is_end(text, m)]
    return ends if ends and ends[-1] == len(text) else [*ends, len(text)]


def is_end(text: str, match: re.Match) -> bool:
    """Whether a mark ends its sentence: not before a small letter, nor in 'Mr. Gray' or 'J. S.'"""
    mark = match[0][0]
    following = text[match.end() : match.end() + 5].lstrip("\"'“‘«([")
    if mark in ".!?…" and following[:1].islower():
        return False
    word = WORD_BEFORE.search(text[max(0, match.start() - 20) : match.start() + 1])
    if mark != "." or not word:
        return True
    numbered = word[1].lower() in BEFORE_NUMBERS and following[:1].isdigit()
    return not (numbered or word[1].lower() in TITLES or INITIALS.fullmatch(word[1]))


def pieces_of(text: str, longest: int) -> list[str]:
    """A text in as few parts as `longest` characters allow, of like size, parted between
    sentences.

    A sentence longer than `longest` is parted behind its last clause that fits, else at a space,
    else, in a script without either, where the room ends.
    """
    parts, start = [], 0
    ends = sentence_ends(text)
    while start < len(text):
        left = len(text) - start
        target = start + math.ceil(left / math.ceil(left / longest))
        near = ends[bisect_right(ends, start) : bisect_right(ends, start + longest + 9)]
        fitting = [end for end in near if room(text, start, end) <= longest]
        if left <= longest:
            end = len(text)
        elif fitting:
            end = min(fitting, key=lambda end: abs(end - target))
        else:
            end = start + within_sentence(text[start : start + longest + 1], longest)
        parts.append(text[start:end].strip())
        start = end
    return [part for part in parts if part]


def room(text: str, start: int, end: int) -> int:
    """The characters of a part without the white space behind it."""
    while end > start and text[end - 1].isspace():
        end -= 1
    return end - start


def within_sentence(text: str, longest: int) -> int:
    """Where a sentence that is too long is parted, given its beginning; no part is shorter than
    half of what fits, where there is a choice."""
    clauses = [m.end() for m in CLAUSE.finditer(text) if longest / 2 <= m.end() <= longest]
    spaces = [m.end() for m in re.finditer(r"\s+", text) if m.end() <= longest]
    return (clauses or spaces or [longest])[-1]
