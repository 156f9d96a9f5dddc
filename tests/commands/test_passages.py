"""A book's text becomes passages: lines mended, sentences whole, nothing lost."""

import random
import re
import textwrap

import pytest

from threetoe.commands.make_dataset.book import Book, read_book
from threetoe.commands.make_dataset.passages import mend, passages_of, pieces_of, sentence_ends
from threetoe.errors import UserError

WORDS = "river stone bread wine table garden market knife salt morning évident naïf".split()
CJK = "天地玄黄宇宙洪荒日月盈昃辰宿列张"


def sentences(text):
    ends = [0, *sentence_ends(text)]
    return [text[a:b].strip() for a, b in zip(ends, ends[1:], strict=False)]


def without_space(text):
    return re.sub(r"\s", "", text)


def a_sentence(draw, longest):
    words = [draw.choice(WORDS) for _ in range(draw.randint(2, longest))]
    return " ".join(words).capitalize() + draw.choice([".", "!", "?", "...", '."'])


def a_book(seed):
    """Chapters of paragraphs, hard-wrapped or a line each, some in Chinese, some without ends."""
    draw = random.Random(seed)
    paragraphs = []
    for _ in range(draw.randint(1, 40)):
        kind, count = draw.random(), draw.randint(1, 30)
        if kind < 0.1:
            paragraphs.append(f"CHAPTER {draw.randint(1, 30)}")
        elif kind < 0.3:
            ends = (draw.choice("。！？，") for _ in range(count * 3))
            text = "".join("".join(draw.sample(CJK, 9)) + end for end in ends)
            paragraphs.append("\n".join(re.findall(".{1,30}", text)))
        elif kind < 0.4:
            paragraphs.append(" ".join(draw.choice(WORDS) for _ in range(count * 30)))
        else:
            text = " ".join(a_sentence(draw, 40) for _ in range(count))
            paragraphs.append(textwrap.fill(text, 70) if draw.random() < 0.7 else text)
    return draw.choice(["\n\n", "\n\n\n", "\n \n"]).join(paragraphs)


@pytest.mark.parametrize("seed", range(40))
def test_nothing_of_the_mended_text_is_lost(seed):
    book = a_book(seed)
    whole = without_space("".join(mend(book)))
    assert without_space(book) == whole
    for sizes in ((300, 2000), (1, 80), (200, 200)):
        passages = passages_of(book, *sizes)
        assert without_space("".join(passages)) == whole
        assert max(map(len, passages)) <= sizes[1]


@pytest.mark.parametrize("seed", range(40))
def test_passages_have_300_to_2000_characters_where_sentences_are_of_common_length(seed):
    draw = random.Random(seed)
    paragraphs = [
        " ".join(a_sentence(draw, 20) for _ in range(draw.randint(1, 40))) for _ in range(20)
    ]
    passages = passages_of("\n\n".join(paragraphs))
    assert min(map(len, passages)) >= 300
    assert max(map(len, passages)) <= 2000
    known = {sentence for paragraph in paragraphs for sentence in sentences(paragraph)}
    assert {s for passage in passages for s in sentences(passage)} == known


LONG = " ".join(["So it was."] * 20)
MENDED = {
    "a sentence over two lines": ("We went to\nthe market.", ["We went to the market."]),
    "a divided word": ("An exam-\nple it is.", ["An example it is."]),
    "a soft hyphen": ("An exam\u00ad\nple it is.", ["An example it is."]),
    "a hyphen of the book's own": (
        "A well-known man and a well-\nknown book.",
        ["A well-known man and a well-known book."],
    ),
    "a hyphen before a capital": ("The Anglo-\nSaxon king.", ["The Anglo-Saxon king."]),
    "Chinese": ("我们去公园\n散步。", ["我们去公园散步。"]),
    "a paragraph a line": (f"{LONG}\nOh.\n{LONG}", [LONG, "Oh.", LONG]),
    "room for the next word": (
        "He sat in the kitchen, and had said so.\nThe end.\nA new day began.",
        ["He sat in the kitchen, and had said so. The end.", "A new day began."],
    ),
    "an indented line": (
        "He sat in the kitchen.\n  She stood there too.",
        ["He sat in the kitchen.", "She stood there too."],
    ),
    "a heading above a text": ("Chapter 3: Salt\nNone.", ["Chapter 3: Salt", "None."]),
    "no heading within a sentence": (
        "It was the\npart I played in it.",
        ["It was the part I played in it."],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "paragraphs"), MENDED.values(), ids=MENDED)
def test_lines_are_mended(text, paragraphs):
    assert mend(text) == paragraphs


@pytest.mark.parametrize(
    "text",
    [
        "Mr. Gray met Dr. J. S. Bach of the U.S. Army at 3.30 p.m. on No. 5 street, e.g. Monday.",
        '"Why?" he asked.',
        "Well... perhaps.",
        "“你好吗？”",
    ],
)
def test_what_ends_no_sentence(text):
    assert sentences(text) == [text]


@pytest.mark.parametrize(
    "parts",
    [
        ["He left.", "She stayed!", "Why?"],
        ['He said "No."', "Then he left."],
        ["今天天气很好。", "我们去公园散步吧！", "你好吗？"],
        ["「好。」", "他走了。"],
        ["It cost 5.", "Nobody paid."],
    ],
)
def test_what_ends_a_sentence(parts):
    assert sentences((" " if parts[0].isascii() else "").join(parts)) == parts


def test_a_long_passage_is_parted_into_parts_of_like_size():
    text = " ".join(["Twenty-five characters so."] * 90)
    assert [len(part) for part in pieces_of(text, 2000)] == [1214, 1214]


def test_a_sentence_that_is_too_long_is_parted_behind_a_clause_else_at_a_space():
    assert pieces_of("one two three, four five", 16) == ["one two three,", "four five"]
    assert pieces_of("one two three four five", 16) == ["one two three", "four five"]
    assert pieces_of("天" * 40, 16) == ["天" * 16, "天" * 16, "天" * 8]


def test_a_heading_starts_a_passage_and_a_short_end_stays_in_its_chapter():
    long, short = "It was so. " * 40, "The end."
    text = f"CHAPTER I\n\n{long}\n\n{short}\n\nCHAPTER II\n\nThe Return\n\n{long}"
    first, second = passages_of(text)
    assert first.startswith("CHAPTER I\n\nIt was") and first.endswith(short)
    assert second.startswith("CHAPTER II\n\nThe Return\n\nIt was")


def test_page_numbers_and_running_heads_of_a_text_with_form_feeds_are_dropped(tmp_path):
    pages = [
        f"THE BOOK\n\nPage {n} says that it\ngoes on to {n} and\n\n- {n} -\n" for n in range(1, 6)
    ]
    path = tmp_path / "book.txt"
    path.write_text("\f".join(pages), encoding="utf-8")
    book = read_book(path)
    assert (book.numbers, book.heads) == (5, 5)
    assert mend(book.text)[0].startswith("Page 1 says that it goes on to 1 and Page 2")


def test_a_line_that_is_a_number_stays_in_a_text_without_pages(tmp_path):
    path = tmp_path / "book.txt"
    path.write_text("1\n\nIt began.\n\n2\n\nIt ended.", encoding="utf-8")
    assert read_book(path) == Book("1\n\nIt began.\n\n2\n\nIt ended.")


def pdf_of(pages):
    """A PDF of lines of text, written by hand."""
    objects = ["<</Type/Catalog/Pages 2 0 R>>"]
    kids = " ".join(f"{4 + 2 * n} 0 R" for n in range(len(pages)))
    objects.append(f"<</Type/Pages/Kids[{kids}]/Count {len(pages)}>>")
    objects.append("<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>")
    for place, lines in enumerate(pages):
        shown = "".join(f"({line}) Tj T* " for line in lines)
        content = f"BT /F1 12 Tf 14 TL 50 700 Td {shown}ET"
        objects.append(
            "<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]"
            f"/Resources<</Font<</F1 3 0 R>>>>/Contents {5 + 2 * place} 0 R>>"
        )
        objects.append(f"<</Length {len(content)}>>stream\n{content}\nendstream")
    text, places = "%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(text))
        text += f"{number} 0 obj{body}endobj\n"
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    text += (
        f"xref\n0 {len(places) + 1}\n0000000000 65535 f \n{table}trailer<</Size {len(places) + 1}"
        f"/Root 1 0 R>>\nstartxref\n{len(text)}\n%%EOF"
    )
    return text.encode("ascii")


def test_a_pdf_is_read_and_a_sentence_goes_on_over_a_page(tmp_path):
    path = tmp_path / "book.pdf"
    pages = [
        ["Kitchen tales", f"We cooked {n} meals for", f"guest {n} and then", str(n)]
        for n in range(4)
    ]
    path.write_bytes(pdf_of(pages))
    book = read_book(path)
    assert (book.numbers, book.heads) == (4, 4)
    told = " ".join(f"We cooked {n} meals for guest {n} and then" for n in range(4))
    assert mend(book.text) == [told]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("book.pdf", b"%PDF-1.4\nnothing else", "cannot be read as a PDF"),
        ("book.pdf", pdf_of([[], []]), "holds no text; scanned pages"),
        ("book.epub", b"PK\x03\x04", "pandoc"),
        ("book.txt", "é".encode("latin-1"), "--encoding cp1252"),
        ("book.txt", b" \n ", "holds no text"),
        ("book.txt", b"\x00\x01", "NUL"),
    ],
)
def test_a_file_that_holds_no_text_is_refused_in_a_line(name, content, said, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as raised:
        read_book(tmp_path / name)
    assert said in str(raised.value) and "\n" not in str(raised.value)


def test_other_encodings_are_named(tmp_path):
    path = tmp_path / "book.txt"
    path.write_bytes("天气很好。".encode("gb18030"))
    assert read_book(path, "gb18030").text == "天气很好。"
    with pytest.raises(UserError, match="--encoding utf-9"):
        read_book(path, "utf-9")
