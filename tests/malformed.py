"""Makes malformed files of rows from a seed: the same seed, the same files.

python tests/malformed.py FOLDER [COUNT]
"""

import csv
import gzip
import io
import json
import random
import sys
from itertools import cycle
from pathlib import Path

import pyarrow
from pyarrow import parquet

CELL = 10_000_000  # characters of the long cells, of which each format has one file
WORDS = "red green café 你好 天气 ist für naïve 2 x \U0001f600 a,b 'quoted' end".split()
ROLES = ["user", "assistant", "system", "human", "gpt", "tool", "", None, 3, "User"]
WRONG = [None, 3, 1.5, True, [], {}, ["a"], "", "  ", float("nan"), 10**30, "\ud83d", "a\x00b"]
NO_ROWS = [
    *("[1]", "3", '"text"', "null", "true", "[]", "{", "}", "{]", "{'q': 1}", '{"q": 1},', "NaN"),
    *('{"q" 1}', '{"q": 01}', '{"q": "a}', "// no", "[" * 5000, '{"q": ' * 5000, "9" * 5000),
]


def words(dice) -> str:
    return " ".join(dice.choices(WORDS, k=dice.randint(1, 9)))


def alpaca(dice) -> dict:
    return {"instruction": words(dice), "input": words(dice), "output": words(dice)}


def chat(dice) -> dict:
    turns = [("user", "assistant")[n % 2] for n in range(2 * dice.randint(1, 3))]
    return {"messages": [{"role": role, "content": words(dice)} for role in turns]}


def some(dice, make=alpaca) -> list[dict]:
    return [make(dice) for _ in range(dice.randint(2, 12))]


def wrong_values(dice, rows):
    """Nulls, numbers, lists and blanks where texts should be."""
    for row in dice.sample(rows, max(1, len(rows) // 2)):
        row[dice.choice(list(row))] = dice.choice(WRONG)
    return rows


def wrong_columns(dice, rows):
    """Mixed schemas: columns renamed, taken away, added; chats among them."""
    for row in rows:
        name = dice.choice(list(row))
        value = row.pop(name)
        if dice.random() < 0.6:
            row[dice.choice(["text", "question", "", name.upper(), f" {name}"])] = value
    return [*rows, chat(dice), {}]


def wrong_turns(dice, rows):
    """Wrong roles, unanswered last turns, empty lists, messages that are none."""
    rows = some(dice, chat)
    for row in rows:
        messages = row["messages"]
        change = dice.randrange(7)
        if change == 0:
            dice.choice(messages)["role"] = dice.choice(ROLES)
        elif change == 1:
            messages.pop()
        elif change == 2:
            row["messages"] = dice.choice([[], None, "text", {}, [[]], [3], [None], [{}]])
        elif change == 3:
            dice.choice(messages)["content"] = dice.choice(WRONG)
        elif change == 4:
            dice.choice(messages).pop("role")
        elif change == 5:
            messages.reverse()
    return rows


def long_cell(dice, rows):
    rows[0][dice.choice(list(rows[0]))] = "x" * CELL
    return rows


CHANGED = {
    "values": wrong_values,
    "columns": wrong_columns,
    "turns": wrong_turns,
    "long": long_cell,
    "as-is": lambda dice, rows: rows,
}


def as_json(rows, dice) -> bytes:
    text = json.dumps(rows, ensure_ascii=dice.random() < 0.5, indent=dice.choice([None, 1]))
    return text.encode("utf-8", "surrogatepass")


def as_jsonl(rows, dice) -> bytes:
    lines = [json.dumps(row, ensure_ascii=dice.random() < 0.5) for row in rows]
    return "\n".join([*lines, ""]).encode("utf-8", "surrogatepass")


def as_table(rows, separator) -> bytes:
    text = io.StringIO()
    names = list(dict.fromkeys(name for row in rows for name in row))
    table = csv.DictWriter(text, names, delimiter=separator, lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue().encode("utf-8", "surrogatepass")


def as_parquet(rows) -> bytes:
    file = io.BytesIO()
    texts = [{name: plain(value) for name, value in row.items()} for row in rows]
    parquet.write_table(pyarrow.Table.from_pylist(texts), file)
    return file.getvalue()


def plain(value):
    """What a column of texts can hold of a value."""
    return value if value is None else str(value).encode("utf-8", "replace").decode()


WRITTEN = {
    ".json": as_json,
    ".jsonl": as_jsonl,
    ".csv": lambda rows, dice: as_table(rows, ","),
    ".tsv": lambda rows, dice: as_table(rows, "\t"),
    ".parquet": lambda rows, dice: as_parquet(rows),
}


def flipped(dice, data: bytes) -> bytes:
    data = bytearray(data)
    for _ in range(dice.randint(1, 9)):
        data[dice.randrange(len(data))] = dice.randrange(256)
    return bytes(data)


def cut(dice, data: bytes) -> bytes:
    return data[: dice.randrange(len(data))]


def put(dice, data: bytes, what: bytes) -> bytes:
    place = dice.randrange(len(data))
    return data[:place] + what + data[place:]


def lines_changed(dice, data: bytes) -> bytes:
    """Lines doubled, dropped, blank, swapped, or no rows."""
    lines = data.split(b"\n")
    for _ in range(3):
        place = dice.randrange(len(lines))
        lines[place : place + 1] = dice.choice(
            [[b""], [b"  "], [lines[place]] * 2, [dice.choice(NO_ROWS).encode()]]
        )
    return dice.choice([b"\n", b"\r\n", b"\r", b"\n\n"]).join(lines)


def encoded(dice, data: bytes) -> bytes:
    """The whole file in another encoding than UTF-8."""
    name = dice.choice("utf-16 utf-16-le utf-16-be utf-32 gb18030 big5 shift_jis latin-1".split())
    return data.decode("utf-8", "replace").encode(name, "ignore")


SPOILT = {
    "flipped": flipped,
    "cut": cut,
    "twice": lambda dice, data: data + data,
    "nul": lambda dice, data: put(dice, data, b"\0" * dice.randint(1, 3)),
    "bytes": lambda dice, data: put(dice, data, dice.randbytes(dice.randint(1, 9)) + b"\xff"),
    "quote": lambda dice, data: put(dice, data, b'"'),
    "comma": lambda dice, data: put(dice, data, b","),
    "newline": lambda dice, data: put(dice, data, dice.choice([b"\n", b"\r", b"\r\n"])),
    "brackets": lambda dice, data: put(dice, data, dice.choice([b"]", b"}", b"[" * 3000, b"{"])),
    "lines": lines_changed,
    "encoded": encoded,
    "bom": lambda dice, data: b"\xef\xbb\xbf" * dice.randint(1, 2) + data,
    "nothing": lambda dice, data: dice.choice([b"", b"\n \n", b"[]", b"{}", b"\0", b"PAR1"]),
    "noise": lambda dice, data: dice.randbytes(dice.randint(1, 2000)),
    "object": lambda dice, data: b'{"data": ' + data + dice.choice([b"}", b', "v": [{}]}', b""]),
    "zipped": lambda dice, data: gzip.compress(data, mtime=0)[: dice.choice([None, -9])],
}
PLAIN = [(suffix, "as-is", spoil) for suffix in WRITTEN for spoil in SPOILT]
KINDS = [(suffix, change, "") for suffix in WRITTEN for change in CHANGED if change != "as-is"]


def files(folder: Path, seed: int, count: int):
    """(path, kind) of so many malformed files, one by one; a kind is such as 'csv as-is cut'."""
    made = cycle([*KINDS, *PLAIN])
    for number in range(count):
        suffix, change, spoil = next(made)
        if change == "long" and number >= len(KINDS):  # once is enough
            suffix, change, spoil = suffix, "values", "flipped"
        dice = random.Random(f"{seed} {number}")
        data = WRITTEN[suffix](CHANGED[change](dice, some(dice)), dice)
        data = SPOILT[spoil](dice, data) if spoil else data
        path = folder / f"{number:03}{suffix}"
        path.write_bytes(data)
        yield path, " ".join(filter(None, [suffix[1:], change, spoil]))


if __name__ == "__main__":
    where = Path(sys.argv[1])
    where.mkdir(parents=True, exist_ok=True)
    for path, kind in files(where, 0, int(sys.argv[2]) if sys.argv[2:] else 320):
        print(path, kind)
