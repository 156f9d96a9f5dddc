"""Files: what ships with the package, YAML and JSON read, JSON written whole, locks."""

import errno
import json
import os
import sys
import tempfile
from contextlib import ExitStack
from functools import cache
from pathlib import Path

from threetoe.errors import UserError, first_line, reading
from threetoe.machine.records import parse_json
from threetoe.machine.terminal import say

MOST_CHARACTERS, MOST_NODES, DEEPEST = 1_000_000, 20_000, 100  # of a YAML file
MOST_VALUES = 100_000  # of it with its aliases written out


def folder(kind: str) -> Path:
    """The folder named `kind`: inside the installed package, or beside it in a clone."""
    package = Path(__file__).resolve().parents[1]
    return package / kind if (package / kind).is_dir() else package.parent / kind


def named_files(kind: str) -> dict[str, Path]:
    """{name: file} of the YAML files of a kind; names are file stems."""
    return {path.stem: path for path in sorted(folder(kind).glob("*.yaml"))}


def read_yaml(path: Path) -> tuple:
    """What a YAML or JSON file holds, and where the keys of a YAML mapping stand: {(key,) or (key,
    key below): line}.

    UserError with file and line when it is not YAML, when a key stands twice in it, of which YAML
    would silently take the second, and when it holds more than what a person writes.
    """
    import yaml

    with reading(path), path.open(encoding="utf-8") as file:
        text = file.read(MOST_CHARACTERS + 1)
    if path.suffix == ".json":
        return parse_json(text, object, path), {}
    try:
        node = compose(text)
        count_values(node, path)
        lines = lines_of(node, path)
        return yaml.SafeLoader("").construct_document(node) if node else None, lines
    except (yaml.YAMLError, ValueError) as error:  # ValueError: 2024-13-01
        mark = getattr(error, "problem_mark", None)
        place = f"{path}:{mark.line + 1}" if mark else path
        problem = getattr(error, "problem", None) or first_line(error)
        raise UserError(f"{place}: not YAML: {problem}.") from error


def compose(text: str):
    """The tree of a YAML text; UserError where that would take long."""
    import yaml

    class Bounded(yaml.SafeLoader):
        depth = count = 0

        def compose_node(self, parent, index):
            self.depth, self.count = self.depth + 1, self.count + 1
            if self.depth > DEEPEST or self.count > MOST_NODES:
                what = f"more than {MOST_NODES:,} values, or {DEEPEST} within each other"
                raise yaml.MarkedYAMLError(None, None, what, self.peek_event().start_mark)
            node = super().compose_node(parent, index)
            self.depth -= 1
            return node

    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"more than {MOST_CHARACTERS:,} characters")
    return Bounded(text).get_single_node()


def count_values(root, path: Path) -> int:
    """How many values a tree of YAML holds, its aliases written out; UserError when they are more
    than MOST_VALUES, or when one holds itself."""
    counts: dict[int, int] = {}  # by node; 0 while one is counted

    def count(node) -> int:
        if id(node) not in counts:
            counts[id(node)] = 0
            inner = getattr(node, "value", None) or ()
            pairs = inner if isinstance(inner, list) else ()
            parts = (part for pair in pairs for part in (pair if type(pair) is tuple else [pair]))
            counts[id(node)] = 1 + sum(map(count, parts))
        if not 0 < counts[id(node)] <= MOST_VALUES:
            what = f"more than {MOST_VALUES:,} values" if counts[id(node)] else "a part of itself"
            raise UserError(f"{path}:{node.start_mark.line + 1}: by its aliases it is {what}.")
        return counts[id(node)]

    return count(root)


def lines_of(root, path: Path) -> dict[tuple, int]:
    import yaml

    lines: dict[tuple, int] = {}

    def walk(node, above=()):
        for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
            place, line = (*above, str(key.value)), key.start_mark.line + 1
            if place in lines:
                raise UserError(
                    f"{path}:{line}: '{key.value}' stands in line {lines[place]} too; keep one."
                )
            lines[place] = line
            walk(value, place)

    walk(root)
    return lines


def write_json(path: Path, values: dict) -> None:
    """Write a JSON file whole or not at all."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.unlink(missing_ok=True)  # of a process that was killed; a link is not written through
    with temporary.open("x", encoding="utf-8") as file:
        json.dump(values, file, ensure_ascii=False, indent=1)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def lock(folder: Path, asked: str | None = None, work: str = "training") -> ExitStack:
    """Holds a folder or file until it is closed, or the process ends however it ends; UserError
    when another of this work holds it, which names what was `asked`. FileNotFoundError when it is
    gone by then, or has another name. Nothing is written. Where the drive has no flock, nothing is
    held, which is said.
    """
    held = ExitStack()
    if sys.platform != "win32":
        import fcntl

        handle = os.open(folder, os.O_RDONLY)
        held.callback(os.close, handle)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.samestat(os.fstat(handle), os.stat(folder)):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder))
        except BlockingIOError:
            held.close()
            raise UserError(
                f"{asked or f'--output-dir {folder}'}: another {work} is writing there; name "
                "another place."
            ) from None
        except OSError as error:
            if error.errno not in (errno.ENOTSUP, errno.ENOLCK, errno.ENOSYS):
                held.close()
                raise  # those three: a mounted drive that knows no locks
            say_unlocked(folder)
    return held


@cache
def say_unlocked(folder: Path) -> None:
    say(f"{folder} is on a drive that knows no locks: let nothing else write there meanwhile")


def check_writable(path: Path, flag: str) -> None:
    """UserError unless a file or folder can be made at `path`."""
    above = path if path.exists() else path.parent
    while not above.exists():
        if above.is_symlink():
            raise UserError(f"{flag} {path}: {above} is a link that leads nowhere.")
        above = above.parent
    try:
        tempfile.TemporaryFile(dir=above).close()  # asked, not guessed: root may not write to all
    except OSError as error:
        raise UserError(f"{flag} {path} cannot be written: {above}: {error.strerror}.") from error
