"""What chat and page share: a loaded run, the turns that fit, an answer while it comes."""

from collections.abc import Iterator
from queue import SimpleQueue
from threading import Event, Thread
from typing import NamedTuple

from threetoe.infer import infer as flow
from threetoe.infer.questions import Question, with_system
from threetoe.options.infer import InferConfig

WINDOW = 8192  # tokens of a conversation, where the base reads as many: its memory grows with them


class Loaded(NamedTuple):
    """A run whose model stays loaded."""

    job: flow.InferPlan
    model: object
    tokenizer: object
    window: int  # tokens of question and answer


class Fitted(NamedTuple):
    job: flow.InferPlan
    prompts: list[list[int]]  # one: what is asked, as ids
    left_out: int  # earlier turns, for which there was no room
    room: int  # tokens there are for a question


def load(config: InferConfig, loading=flow.load_model) -> Loaded:
    job, tokenizer = flow.load_tokenizer(flow.plan_inference(config))
    model = loading(job, WINDOW)
    longest = max(job.run.options.get("max_seq_length", 0), WINDOW)
    return Loaded(job, model, tokenizer, min(model.config.max_position_embeddings, longest))


def fitted(loaded: Loaded, turns: list[dict], config: InferConfig) -> Fitted:
    """The last question with the latest turns for which there is room beside an answer."""
    room = loaded.window - min(config.max_new_tokens, loaded.window // 2)
    for first in range(0, len(turns), 2):  # a question and its answer
        asked = with_system(Question(turns[first:], None), config.system)
        job = loaded.job._replace(config=config, questions=[asked])
        job, prompts = flow.encode_questions(job, loaded.tokenizer)
        if len(prompts[0]) <= room:
            break
    return Fitted(job, prompts, first // 2, room)


def streamed(loaded: Loaded, turns: list[dict], config: InferConfig) -> Iterator[str]:
    """The answer so far, each time there is more of it; whole where plugins have a word in it.
    Closing the generator ends the answer after its next token."""
    job, prompts, *_ = fitted(loaded, turns, config)
    parts, closed = SimpleQueue(), Event()

    def show(text: str) -> None:
        if closed.is_set():
            raise Closed
        parts.put(text)

    def work() -> None:
        try:
            whole = job.hooks.has("map_reply")
            answers = flow.answer(
                job, loaded.model, loaded.tokenizer, prompts, None if whole else show
            )
            (given,) = answers
            parts.put(Closed(given.text))
        except BaseException as error:  # of this thread; it is raised where the answer is awaited
            parts.put(error)

    thread = Thread(target=work, daemon=True)
    thread.start()
    shown = ""
    try:
        while not isinstance(part := parts.get(), BaseException):
            shown += part
            yield shown
        if not isinstance(part, Closed):
            raise part
        yield part.args[0]
    finally:
        closed.set()
        thread.join()


class Closed(Exception):
    """The end of an answer."""
