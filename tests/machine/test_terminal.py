"""What others wrote cannot command the terminal that it is shown on."""

from conftest import refused

import train
from threetoe.data.ledger import Ledger
from threetoe.machine.terminal import say, visible
from threetoe.prompt.pieces import Piece, show_pieces

CLEAR, TITLE = "\x1b[2J", "\x1b]0;gone\x07"


def test_control_characters_are_spelt_out_and_all_else_stays():
    shown = visible(f"a{CLEAR}{TITLE}\r\x9b\u202eb")
    assert shown == r"a\x1b[2J\x1b]0;gone\x07" + r"\r\x9b" + "\\u202eb"
    kept = "é 你好 \U0001f600\n\ttab"
    assert visible(kept) == kept


def test_labels_pieces_and_file_names_are_shown_so(here, capsys):
    account = Ledger("a.json", read=4, kept=4, answers={f"yes{CLEAR}": 4})
    for line in account.lines():
        say(line)
    assert "labels: 4 yes\\x1b[2J" in capsys.readouterr().err
    assert show_pieces([Piece(f"q{TITLE}", False)], colour=True) == r"q\x1b]0;gone\x07"
    (problem,) = refused(train, "--dataset", f"{CLEAR}.json")
    assert problem.startswith(r"No such file: \x1b[2J.json.")
