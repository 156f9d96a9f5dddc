"""An answer of weight 0 is read, as every earlier answer is, and not learned."""

from conftest import TINY
from tokenizers_made import KINDS

from threetoe.backend.tokenizer_file import read_tokenizer
from threetoe.machine.files import named_files
from threetoe.messages import IGNORED
from threetoe.prompt.encode import encode
from threetoe.prompt.template_file import read_template
from threetoe.prompt.tokenizer import marks_of, with_cuts

TURNS = [
    {"role": "user", "content": "One?"}, {"role": "assistant", "content": "no"},
    {"role": "user", "content": "Two?"}, {"role": "assistant", "content": "yes"},
]  # fmt: skip


def test_the_ids_are_the_same_and_only_its_labels_are_not_there():
    weighed = [TURNS[0], TURNS[1] | {"weight": 0}, *TURNS[2:]]
    for tokenizer in (read_tokenizer(TINY), *(with_cuts(make()) for make in KINDS.values())):
        for path in named_files("templates").values():
            template, marks = read_template(path), marks_of(tokenizer)
            pieces = [template.pieces(turns, marks) for turns in (TURNS, weighed)]
            plain, less = encode(pieces, tokenizer, 2048)
            assert less.input_ids == plain.input_ids
            last = [label for label in less.labels if label != IGNORED]
            assert last == [label for label in plain.labels if label != IGNORED][-len(last) :]
            assert 0 < len(last) < sum(label != IGNORED for label in plain.labels)
