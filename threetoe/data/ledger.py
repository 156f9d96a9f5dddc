"""The account of rows: read = trained + validation + every reason for leaving one out."""

import json
from collections import Counter
from dataclasses import dataclass, field

SHOWN = 5  # reasons; data.json has them all
REASONS = 100  # kinds that are told apart; data.jsonl has the reason of every row
OTHER = "other reasons"
ANSWERS, LONGEST = 50, 60  # so many short answers are labels; more are not counted
COLUMNS = 8  # that a message names
NAMED, LETTERS = 6, 28  # of the labels that a line names, and of each


@dataclass
class Ledger:
    """What became of the rows of one source.

    `dropped` counts faults and `skipped` what was left out on purpose, both by reason; `kept` is
    trained and validation rows together.
    """

    source: str
    read: int = 0
    kept: int = 0
    validation: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)  # reason: where it was first
    truncated: int = 0
    first_truncated: str = ""
    duplicates: int = 0  # rows that stand in the source before
    answers: Counter[str] | None = field(default_factory=Counter)  # None: too many to be labels
    texts: int = 0  # of `kept`, rows of a whole text, which no template frames
    fingerprint: str = ""
    unused: list[str] = field(default_factory=list)  # columns and keys that no format reads
    parts: dict[str, dict] = field(default_factory=dict)  # of several sources: {name: its counts}

    def leave_out(self, where: str, reason: str, file, on_purpose: bool = False) -> None:
        """Count one row that is left out, and write it into the open log."""
        counts = self.skipped if on_purpose else self.dropped
        name = reason if reason in counts or len(counts) < REASONS else OTHER
        counts[name] += 1
        self.examples.setdefault(name, where)
        note(file, where, "skipped" if on_purpose else "dropped", reason)

    def cut(self, where: str, reason: str, file) -> None:
        self.truncated += 1
        self.first_truncated = self.first_truncated or where
        note(file, where, "truncated", reason)

    def keep(self, messages: list[dict] | dict) -> None:
        """Count one row that is kept, and its answer; ready ids tell of none."""
        self.kept += 1
        last = messages[-1] if isinstance(messages, list) else {"role": "ids"}
        self.texts += last["role"] == "text"
        if last["role"] != "assistant" or self.answers is None:
            return
        text = last["content"]
        self.answers[text] += 1
        if len(self.answers) > ANSWERS or len(text) > LONGEST:
            self.answers = None

    def mix(self, other: "Ledger") -> None:
        """Take in the account of one more source."""
        self.read += other.read
        self.texts += other.texts
        self.dropped += other.dropped
        self.skipped += other.skipped
        self.examples = {**other.examples, **self.examples}
        few = self.answers is not None and other.answers is not None
        self.answers = self.answers + other.answers if few else None
        self.unused += [name for name in other.unused if name not in self.unused]
        counts = {"dropped": other.faults, "skipped": other.skipped.total()}
        self.parts[other.source] = {"read": other.read, "kept": other.kept, **counts}

    def add(self, later: "Ledger") -> None:
        """Take in what a later step left out or cut of the rows that were kept here."""
        self.dropped += later.dropped
        self.examples = {**later.examples, **self.examples}
        self.truncated += later.truncated
        self.first_truncated = self.first_truncated or later.first_truncated
        self.kept, self.answers = later.kept, later.answers

    @property
    def faults(self) -> int:
        return self.dropped.total()

    def as_dict(self) -> dict:
        """What data.json and run.json say of the rows, but for lengths and tokens."""
        counts = {"answers": self.labels(), "dropped": self.dropped, "skipped": self.skipped}
        values = vars(self) | {name: by_count(found) for name, found in counts.items()}
        values["trained"] = values.pop("kept") - self.validation
        return values

    def labels(self) -> Counter[str]:
        """The answers and their counts, where they form a small set; else none."""
        few = self.answers and len(self.answers) * 2 <= self.answers.total()
        return self.answers if few else Counter()

    def lines(self) -> list[str]:
        """The account, to be printed."""
        rows = "1 row" if self.read == 1 else f"{self.read:,} rows"
        trained, kept = self.kept - self.validation, []
        if trained or not self.validation:
            kept.append(f"{trained:,} to train on")
        if self.validation:
            kept.append(f"{self.validation:,} for validation")
        labels = [label_line(self.labels())] if self.labels() else []
        lines = [f"{rows} read from {self.source}, {', '.join(kept)}"]
        if len(self.parts) > 1:
            parts = [f"{n}: {p['kept']:,} of {p['read']:,} rows" for n, p in self.parts.items()]
            lines.append("; ".join(parts))
        return [*lines, *labels, *self.remarks()]

    def remarks(self) -> list[str]:
        """What is to be said of rows that were not taken as they are."""
        lines = self.left_out()
        if self.truncated:
            lines.append(f"{self.truncated:,} cut to fit (first: {self.first_truncated})")
        if self.duplicates:
            repeat = "1 repeats" if self.duplicates == 1 else f"{self.duplicates:,} repeat"
            lines.append(f"{repeat} an earlier row")
        if self.unused:
            lines.append(f"not used: {listed(self.unused)}")
        return lines

    def left_out(self) -> list[str]:
        """A line for each reason, the most frequent first, with the place of the first row."""
        left_out = [("dropped", *item) for item in self.dropped.most_common()]
        left_out += [("skipped", *item) for item in self.skipped.most_common()]
        lines = [
            f"{count:,} {what}: {reason} (first: {self.examples[reason]})"
            for what, reason, count in left_out[:SHOWN]
        ]
        if left_out[SHOWN:]:
            count = sum(count for _, _, count in left_out[SHOWN:])
            lines.append(f"{count:,} left out for {len(left_out) - SHOWN} other reasons")
        return lines


def note(file, where: str, what: str, reason: str) -> None:
    """One line of data.jsonl."""
    entry = {"where": where, "what": what, "reason": reason}
    file.write(json.dumps(entry, ensure_ascii=False) + "\n")


def listed(columns) -> str:
    """Columns in a message; of many the first."""
    names = [str(column)[:40] for column in columns]
    return ", ".join(names[:COLUMNS]) + (
        f" and {len(names) - COLUMNS} more" if names[COLUMNS:] else ""
    )


def label_line(labels: Counter[str]) -> str:
    """'labels: 412 Positive, 388 Negative', the most frequent named."""
    named = labels.most_common(NAMED)
    line = "labels: " + ", ".join(f"{count:,} {short_label(text)}" for text, count in named)
    rest = labels.total() - sum(count for _, count in named)
    return f"{line} and {rest:,} of {len(labels) - NAMED} more" if rest else line


def short_label(text: str, letters: int = LETTERS) -> str:
    """One line of a text, at most so many letters long."""
    text = " ".join(text.split()) or "(empty)"
    return text if len(text) <= letters else text[: letters - 1].rstrip() + "…"


def by_count(counts: Counter[str]) -> dict[str, int]:
    return dict(counts.most_common())
