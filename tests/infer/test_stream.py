"""An answer shown while it comes is the answer, byte for byte, however its tokens split it."""

import random

import pytest
from conftest import TINY
from tokenizers_made import KINDS

from threetoe.backend import generate as generation
from threetoe.backend import model as backend
from threetoe.backend.reply import Frame, Reply, ending
from threetoe.options.infer import InferConfig

WORDS = ["a", "aa", "ab", "b", "\n", "\n\n", " ", "### ", "###", "Human:", "指令", "好", "🙂",
         "👩‍🚀", "e\u0301", "<|im_", "start|>", "[INST", "]", "\ufffd", "it's", "é"]  # fmt: skip
STRINGS = ["aab", "abab", "\n### Human:", "###", "指令", "🙂🙂", "<|im_start|>", "[INST]", "\n\n",
           "ab", "b", "好 "]  # fmt: skip
FRAMES = [("", ""), (" ", ""), (" ", " "), ("\n", "\n"), ("", "\n"), ("ab", "ba"), ("aa", "a")]


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request):
    return KINDS[request.param]()


def whole(ids, tokenizer, frame):
    """The reply of ids that are all there, by the plain rule: decode, cut, take the frame off."""
    backend, (anchor,) = tokenizer.backend_tokenizer, [tokenizer("x", add_special_tokens=False)]
    known = len(backend.decode(anchor.input_ids))
    text = backend.decode(anchor.input_ids + ids)[known:]
    for end in range(len(text) + 1):
        done = [s for s in frame.strings if text[:end].endswith(s)]
        if done:
            text = text[: end - max(map(len, done))]
            break
    return text.removeprefix(frame.lead).removesuffix(frame.trail)


def streamed(ids, tokenizer, frame):
    """(the pieces shown, how many ids were taken before the reply ended)"""
    pieces = []
    reply = Reply(tokenizer, frame, pieces.append)
    taken = 0
    while taken < len(ids) and not reply.ended:
        reply.add(ids[taken])
        taken += 1
    reply.close(taken)
    assert reply.text == "".join(pieces)
    assert all(pieces)
    return pieces, taken


def some_ids(tokenizer, chance):
    """Ids of a text that is cut anywhere, each part encoded by itself; or any ids at all."""
    special = [i for i, t in tokenizer.added_tokens_decoder.items() if t.special]
    if chance.random() < 0.3:
        return [chance.randrange(len(tokenizer)) for _ in range(chance.randint(0, 20))]
    text = "".join(chance.choices(WORDS, k=chance.randint(0, 12)))
    ids = []
    while text:
        size = chance.randint(1, 4)
        part, text = text[:size], text[size:]
        ids += tokenizer(part, add_special_tokens=False).input_ids
        ids += [chance.choice(special)] if chance.random() < 0.03 else []
    return ids[: chance.randint(1, len(ids))] if ids else []


def test_the_pieces_of_an_answer_are_the_whole_answer(tokenizer):
    chance = random.Random(3407)
    for _ in range(1500):
        ids = some_ids(tokenizer, chance)
        strings = tuple(chance.sample(STRINGS, k=chance.randint(0, 3)))
        frame = Frame((tokenizer.eos_token_id,), strings, *chance.choice(FRAMES))
        pieces, taken = streamed(ids, tokenizer, frame)
        heard = ids[:taken]
        if heard and heard[-1] in Reply(tokenizer, frame).ends:
            heard.pop()
        assert "".join(pieces) == whole(heard, tokenizer, frame), (ids, frame)


def test_an_answer_is_shown_while_it_comes(tokenizer):
    ids = tokenizer("Hello, world! Hello, world!", add_special_tokens=False).input_ids
    pieces, _ = streamed(ids, tokenizer, Frame(strings=("\n### Instruction:",)))
    assert len(pieces) >= len(ids) - 1


def test_a_character_split_between_tokens_is_shown_once_whole(tokenizer):
    ids = tokenizer("🙂!é!", add_special_tokens=False).input_ids
    assert len(ids) > 4
    pieces, _ = streamed(ids, tokenizer, Frame())
    assert "".join(pieces).strip() == "🙂!é!"  # Llama 2's kind puts a space in front
    assert "\ufffd" not in "".join(pieces)


def test_ids_that_end_an_answer_and_special_tokens_are_never_shown(tokenizer):
    eos = tokenizer.eos_token_id
    (hello, more) = (tokenizer(t, add_special_tokens=False).input_ids for t in ("Hello", "more"))
    silent = [i for i, t in tokenizer.added_tokens_decoder.items() if t.special and i != eos]
    reply = Reply(tokenizer, Frame(ids=(eos,)))
    for token in [*hello, *silent, *hello, eos, *more]:
        reply.add(token)
    assert reply.text.replace(" ", "") == "HelloHello"


def test_a_stop_string_that_is_a_special_token_ends_the_answer():
    tokenizer = KINDS["qwen"]()
    start = tokenizer.convert_tokens_to_ids("<|im_start|>")
    reply = Reply(tokenizer, Frame(strings=("<|im_start|>",)))
    for token in [*tokenizer("Hi").input_ids, start, *tokenizer("user").input_ids]:
        reply.add(token)
    assert reply.text == "Hi"


@pytest.mark.parametrize(
    ("text", "strings", "kept"),
    [
        ("aaab", ["aab"], "a"),
        ("aabaab", ["aab"], ""),
        ("ababab", ["abb", "bab"], "a"),
        ("Positive", ["\n### Instruction:", "<|im_start|>"], "Positive"),
        ("Positive\n### Instruction:\nNext", ["\n### Instruction:"], "Positive"),
        ("A<|im_start|>B\n### Instruction:", ["\n### Instruction:", "<|im_start|>"], "A"),
        ("\n### Instruction:", ["\n### Instruction:"], ""),
        ("abcd", ["abcd", "bc"], "a"),
    ],
)
def test_an_answer_ends_before_the_stop_string_that_is_complete_first(text, strings, kept):
    place = ending(text, strings)
    assert text[:place] == kept


@pytest.fixture(scope="module")
def tiny():
    """The embedded model in plain transformers, and its tokenizer."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(TINY), backend.load_tokenizer(TINY)


def asked(tiny, questions, frame, **options):
    """The replies to questions, and how often the model was called."""
    model, tokenizer = tiny
    calls = []
    counting = model.register_forward_hook(lambda *_: calls.append(1))
    replies = [Reply(tokenizer, frame) for _ in questions]
    prompts = [tokenizer(question).input_ids for question in questions]
    list(
        generation.generate(
            model, tokenizer, prompts, replies, InferConfig(batch_size=8, **options)
        )
    )
    counting.remove()
    return [reply.text for reply in replies], len(calls)


def test_generation_stops_at_a_stop_string_of_several_tokens(tiny):
    (text,), calls = asked(tiny, ["The waiter"], Frame(), max_new_tokens=40)
    assert calls == 40
    middle = len(text) // 2
    string = text[middle - 6 : middle + 6]
    assert len(tiny[1](string, add_special_tokens=False).input_ids) > 2
    (stopped,), fewer = asked(tiny, ["The waiter"], Frame(strings=(string,)), max_new_tokens=40)
    assert stopped == text[: text.index(string)]
    assert fewer < 30


def test_a_batch_goes_on_until_each_row_has_met_its_stop_string(tiny):
    questions = ["The waiter", "The bank clerk was", "It"]
    texts, _ = asked(tiny, questions, Frame(), max_new_tokens=30)
    strings = tuple(text[len(text) // 2 :][:8] for text in texts)
    frame = Frame(strings=strings)
    alone = [asked(tiny, [q], frame, max_new_tokens=30)[0][0] for q in questions]
    together, _ = asked(tiny, questions, frame, max_new_tokens=30)
    assert together == alone
    assert all(len(short) < len(long) for short, long in zip(together, texts, strict=True))
