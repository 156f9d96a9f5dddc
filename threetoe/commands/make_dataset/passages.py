"""A book's text becomes passages: line breaks mended, short ones merged, long ones split.

Sentences stay whole. A chapter's heading starts a passage, and nothing but white space and the
hyphens of divided words is lost.
"""

import math
import re
from bisect import bisect_right
from itertools import pairwise

BLANK = re.compile(r"\n[^\S\n]*\n\s*")
NUMBERED = "|".join("Chapter CHAPTER Part PART Book BOOK Section SECTION".split())
CHAPTER = re.compile(
    r"#{1,6} .+|第[\d〇零一二三四五六七八九十百]+[章回节節部卷].*"
    rf"|(?:{NUMBERED})\s+(?:\d+|[IVXLC]+|[A-Z][A-Za-z]+(?:-[A-Za-z]+)?)(?:[.:]?|\W+[A-Z].*)"
    r"|(?i:prologue|epilogue|preface|foreword|introduction|afterword|conclusion)[.:]?"
    r"|[IVXLC]+\.?"
)
LONGEST_HEADING = 80  # characters
BULLET = re.compile(r"\s*[•▪◦*]\s")
WRAPPED = 120  # characters; longer lines were not broken by hand or by a page's width
BETWEEN = "\n\n"  # paragraphs of a passage
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
    "ed eds cf e.g i.e viz z.b d.h bzw ca approx u.a vol fig pp".split()
)


def mend(text: str) -> list[str]:
    """The paragraphs of a text, each on one line. Words divided at a line's end are whole again,
    with their hyphen where the book elsewhere spells them so."""
    words = set(re.findall(r"\w+(?:-\w+)*", text.lower()))
    paragraphs: list[list[str]] = []  # lists of lines: long texts would be copied at every line
    for block in BLANK.split(text.strip()):
        lines = [line.rstrip() for line in block.split("\n") if line.strip()]
        lengths = sorted(map(len, lines))
        width = lengths[math.ceil(0.95 * (len(lengths) - 1))] if lengths else 0
        for place, line in enumerate(lines):
            if place and not starts_paragraph(paragraphs[-1], lines[place - 1], line, width):
                paragraphs[-1][-1] = mended_end(paragraphs[-1][-1], line.strip(), words)
                paragraphs[-1].append(line.strip())
            else:
                paragraphs.append([line.strip()])
    return list(map("".join, paragraphs))


def starts_paragraph(paragraph: list[str], before: str, line: str, width: int) -> bool:
    """Whether a line break is one that the author made: the last of `paragraph` is `before`.

    Within a sentence it is not; behind one it is where the next word would have had room.
    """
    if BULLET.match(line) or (len(paragraph) == 1 and is_heading(paragraph[0])):
        return True
    if not ENDS_SENTENCE.search(before):
        return False
    indented = line[0].isspace() and not before[0].isspace()
    first = line.split()[0][: 1 if WIDE.match(line.strip()) else None]
    had_room = len(before) + 1 + len(first) < 0.85 * width
    return indented or had_room or width > WRAPPED or is_heading(line)


def is_heading(line: str) -> bool:
    line = line.strip()
    if len(line) > LONGEST_HEADING:
        return False
    return bool(CHAPTER.fullmatch(line)) or (line.isupper() and bool(re.search(r"\w{4}", line)))


def mended_end(text: str, line: str, words: set[str]) -> str:
    """A text as it goes on with a line: with a space, or without the hyphen of a divided word."""
    divided, rest = DIVIDED.search(text, max(0, len(text) - 80)), re.match(r"[^\W_]+", line)
    if divided and rest:
        head, hyphen = divided[1], divided[2]
        whole, parted = f"{head}{rest[0]}".lower(), f"{head}-{rest[0]}".lower()
        known = parted in words and whole not in words
        keep = hyphen != SOFT and (known or not line[0].islower())
        return text[: divided.start(2)] + hyphen * keep
    return text if WIDE.match(text[-1]) and WIDE.match(line[0]) else text + " "


def passages_of(text: str, min_chars: int = 300, max_chars: int = 2000) -> list[str]:
    """The passages of a book's text, in its order.

    Paragraphs are merged while a passage has fewer than `min_chars` characters, and parted at
    ends of sentences, into parts of like size, where it has more than `max_chars`. A passage may
    stay shorter where the whole book is, or where its neighbours leave it no room.
    """
    chapters: list[list[str]] = []
    for before, paragraph in pairwise(["", *mend(text)]):
        if not chapters or is_heading(paragraph) and not is_heading(before):
            chapters.append([])
        chapters[-1].append(paragraph)
    groups = [group for chapter in chapters for group in grouped(chapter, min_chars)]
    return [part for group in grouped(groups, min_chars) for part in pieces_of(group, max_chars)]


def grouped(paragraphs: list[str], min_chars: int) -> list[str]:
    """Paragraphs put together until each group has `min_chars`; a short rest joins the last."""
    groups = []
    for paragraph in paragraphs:
        if groups and len(groups[-1]) < min_chars:
            groups[-1] += BETWEEN + paragraph
        else:
            groups.append(paragraph)
    if len(groups) > 1 and len(groups[-1]) < min_chars:
        groups[-2:] = [BETWEEN.join(groups[-2:])]
    return groups


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
    if word[1].lower() == "no":
        return not following[:1].isdigit()
    return not (word[1].lower() in TITLES or INITIALS.fullmatch(word[1]))


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
        fitting = [end for end in near if len(text[start:end].rstrip()) <= longest]
        if left <= longest:
            end = len(text)
        elif fitting:
            end = min(fitting, key=lambda end: abs(end - target))
        else:
            end = start + within_sentence(text[start : start + longest + 1], longest)
        parts.append(text[start:end].strip())
        start = end
    return [part for part in parts if part]


def within_sentence(text: str, longest: int) -> int:
    """Where a sentence that is too long is parted, given its beginning; no part is shorter than
    half of what fits, where there is a choice."""
    clauses = [m.end() for m in CLAUSE.finditer(text) if longest / 2 <= m.end() <= longest]
    spaces = [m.end() for m in re.finditer(r"\s+", text) if m.end() <= longest]
    return (clauses or spaces or [longest])[-1]
