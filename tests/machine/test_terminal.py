"""What others wrote cannot command the terminal that it is shown on."""

from collections import Counter
from contextlib import redirect_stderr
from io import StringIO

from conftest import refused

import train
from threetoe.data.ledger import Ledger
from threetoe.machine import terminal
from threetoe.machine.terminal import Progress, say, show_progress, visible, width_of
from threetoe.prompt.pieces import Piece, show_pieces

CLEAR, TITLE = "\x1b[2J", "\x1b]0;gone\x07"


def test_control_characters_are_spelt_out_and_all_else_stays():
    shown = visible(f"a{CLEAR}{TITLE}\r\x9b\u202eb")
    assert shown == r"a\x1b[2J\x1b]0;gone\x07" + r"\r\x9b" + "\\u202eb"
    kept = "é 你好 \U0001f600\n\ttab"
    assert visible(kept) == kept


def test_labels_pieces_and_file_names_are_shown_so(here, capsys):
    account = Ledger("a.json", read=4, kept=4, answers=Counter({f"yes{CLEAR}": 4}))
    for line in account.lines():
        say(line)
    assert "labels: 4 yes\\x1b[2J" in capsys.readouterr().err
    assert show_pieces([Piece(f"q{TITLE}", False)], colour=True) == r"q\x1b]0;gone\x07"
    (problem,) = refused(train, "--dataset", f"{CLEAR}.json")
    assert problem.startswith(r"No such file: \x1b[2J.json.")


def test_a_line_of_progress_fits_a_terminal_of_any_width(monkeypatch):
    words = "step 117/1200  loss 0.6570  validation 0.7012"
    for width in (1, 20, 40, 60, 80, 200):
        monkeypatch.setattr(terminal, "columns", lambda width=width: width)
        shown = on_a_terminal(monkeypatch, lambda: Progress().show(117, 1200, words))
        line = shown.split("\x1b[K")[-1]
        assert width_of(line) <= width - 1
        assert ("0:00 left" in line, "━" in line) == (width >= 60, width > 60)
        shown = on_a_terminal(monkeypatch, lambda: show_progress("读取 数据.json：5000 行" * 9))
        assert width_of(shown.split("\x1b[K")[-1]) <= max(0, width - 1)


def on_a_terminal(monkeypatch, act):
    """What this writes to standard error, where that is a terminal."""
    written = StringIO()
    monkeypatch.setattr(written, "isatty", lambda: True, raising=False)
    with redirect_stderr(written):
        act()
    return written.getvalue()


def test_elsewhere_progress_is_a_line_for_each_tenth_and_after_thirty_seconds(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now[0])
    progress = Progress(patience=5)
    for done in range(1, 101):
        now[0] = done / 2 if done <= 50 else 40.0 * (done - 49)
        progress.show(done, 100, f"{done} of 100")
    lines = capsys.readouterr().err.splitlines()
    shown = [int(line.split()[0]) for line in lines]
    assert shown == [10, 20, 30, 40, 50, *range(51, 101)]
    assert lines[1] == "20 of 100  0:40 left"
