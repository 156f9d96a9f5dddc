"""How well each template suits a base: the loss of the gold answers under every one of them."""

import random
import statistics
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import click

from threetoe.backend.model import choose_model, load_tokenizer
from threetoe.data.conversations import Conversation, Conversations
from threetoe.data.read import read_conversations
from threetoe.errors import Checks, UserError, first_line
from threetoe.hooks.load import load_plugins
from threetoe.machine.libraries import chatter_hidden, load_unsloth
from threetoe.machine.terminal import say
from threetoe.options.train import RankConfig
from threetoe.prompt.encode import IGNORED, Encoded, encode
from threetoe.prompt.from_tokenizer import from_tokenizer
from threetoe.prompt.pieces import Marks, Piece
from threetoe.prompt.template_file import FROM_TOKENIZER, find_template, known_templates
from threetoe.prompt.tokenizer import marks_of
from threetoe.run.base import check_model, resolve_precision

RESAMPLES = 2000
FEW = 8  # rows below which an interval says nothing


class Score(NamedTuple):
    """A template's loss in nats a token of the answers, with a 95 % bootstrap interval."""

    name: str
    loss: float
    low: float
    high: float
    rows: list[tuple[float, int]]  # each row's summed loss, and its tokens


def rank(config: RankConfig) -> None:
    """Print the templates, the best first; warn when the chosen one is clearly worse."""
    checks = Checks(config.problems)
    config = replace(config, template=config.template or "alpaca")
    hooks = load_plugins(config, checks)
    known = known_templates(hooks, config)
    if config.template != FROM_TOKENIZER:
        checks(find_template, config.template, known)
    data = checks(read_conversations, config, hooks)
    checks(check_model, config.model)
    checks.done()
    load_unsloth()
    config = replace(config, model=config.model or choose_model())
    config, _, line = resolve_precision(config)
    say(f"{config.model}: {line}")
    tokenizer = load_tokenizer(config.model)
    asked = draw_rows(data[0], config)
    encoded = encode_under_all(known, asked, tokenizer, config)
    model = hooks.first("load_model", config=config, adapter=None)
    scores = [measure(name, sum_losses(model, rows), config.seed) for name, rows in encoded.items()]
    scores.sort(key=lambda s: s.loss)
    show(scores, config, len(asked))


def draw_rows(conversations: Conversations, config: RankConfig) -> list[Conversation]:
    """Rows to score, drawn by the seed; UserError where they have no frame to choose."""
    count = len(conversations)
    drawn = random.Random(config.seed).sample(range(count), min(config.rows, count))
    wanted = set(drawn)
    rows = {n: c for n, c in enumerate(conversations) if n in wanted}
    for where, messages in rows.values():
        if isinstance(messages, dict) or messages[0]["role"] == "text":
            raise UserError(f"{where}: a whole text is framed already; no template is asked for.")
    return [rows[number] for number in drawn]


def encode_under_all(known: dict, asked: list[Conversation], tokenizer, config) -> dict:
    """{template: the rows under it}: every named one, the chosen one's file, and the base's own,
    where it has one. What is wrong with that one is said, unless it is chosen."""
    makers = {name: partial(find_template, name, known) for name in known}
    if config.template.endswith((".yaml", ".yml")):
        makers[config.template] = partial(find_template, config.template, known)
    if config.template == FROM_TOKENIZER or tokenizer.chat_template:
        own = tokenizer, marks_of(tokenizer), config.model
        makers[FROM_TOKENIZER] = partial(from_tokenizer, *own)
    encoded = {}
    for name, make in makers.items():
        try:
            encoded[name] = encode_answers(asked, make(), tokenizer, config)
        except UserError as error:
            if name != FROM_TOKENIZER or name == config.template:
                raise
            say(f"{FROM_TOKENIZER} is left out: {first_line(error)}")
    return encoded


def encode_answers(asked: list[Conversation], template, tokenizer, config) -> list[Encoded]:
    """The rows under a template, with the answers as labels and without their ends, of which a
    base knows nothing yet."""
    marks = marks_of(tokenizer)
    pieces = [drop_ends(template.pieces(c.messages, marks), template, marks) for c in asked]
    rows = encode(pieces, tokenizer, config.max_seq_length)
    if any(all(label == IGNORED for label in row.labels) for row in rows):
        raise UserError(f"--max-seq-length {config.max_seq_length} cuts whole answers away.")
    return rows


def drop_ends(pieces: list[Piece], template, marks: Marks) -> list[Piece]:
    end, parts = template.trail + template.end(marks), []
    for text, learned in pieces:
        if learned:
            parts += [Piece(text.removesuffix(end), True), Piece(end, False)]
        else:
            parts.append(Piece(text, False))
    return parts


def measure(name: str, rows: list[tuple[float, int]], seed: int) -> Score:
    losses = sorted(resample(rows, seed))
    low, high = losses[int(0.025 * RESAMPLES)], losses[int(0.975 * RESAMPLES) - 1]
    return Score(name, average(rows), low, high, rows)


def resample(rows: list[tuple[float, int]], seed: int) -> list[float]:
    """The mean losses of samples of the rows drawn with replacement (Efron's bootstrap); the same
    seed draws the same rows for every template."""
    draw = random.Random(seed)
    return [average(draw.choices(rows, k=len(rows))) for _ in range(RESAMPLES)]


def average(rows: list[tuple[float, int]]) -> float:
    return sum(loss for loss, _ in rows) / sum(tokens for _, tokens in rows)


def is_clearly_worse(chosen: Score, best: Score, seed: int) -> bool:
    """Whether at least 97.5 % of the paired resamples give the chosen one the higher loss."""
    pairs = zip(resample(chosen.rows, seed), resample(best.rows, seed), strict=True)
    return statistics.mean(c > b for c, b in pairs) >= 0.975


def show(scores: list[Score], config: RankConfig, rows: int) -> None:
    """The table on standard output; the verdict on the chosen template on standard error."""
    width = max(len(s.name) for s in scores)
    start, end = min(s.low for s in scores), max(s.high for s in scores)
    click.echo(f"{'template'.ljust(width)}    loss   95 % interval   nats a token of the answers")
    for s in scores:
        low, middle, high = (
            round((x - start) / (end - start) * 30) for x in (s.low, s.loss, s.high)
        )
        bar = " " * low + "─" * (middle - low) + "●" + "─" * (high - middle)
        click.echo(f"{s.name.ljust(width)}  {s.loss:6.3f}  {s.low:6.3f} - {s.high:6.3f}  {bar}")
    names, asked = {s.name: s for s in scores}, config.template
    best, chosen = scores[0], names.get(asked) or names[asked.lstrip("# ").lower()]
    verdict = f"{chosen.name} is not clearly worse than {best.name}"
    if chosen is best:
        verdict = f"{best.name}, the chosen template, has the lowest loss"
    elif rows < FEW:
        verdict = f"{FEW} rows or more are needed to tell {chosen.name} from {best.name}"
    elif is_clearly_worse(chosen, best, config.seed):
        more = chosen.loss - best.loss
        verdict = f"{chosen.name} is clearly worse than {best.name}: {more:.2f} nats a token more"
    say(f"{verdict} (rows: {rows}; --template chooses)")


def sum_losses(model, rows: list[Encoded]) -> list[tuple[float, int]]:
    """(loss in nats summed over the labels, how many) of each encoded row, by the bare base.

    A row at a time by the model's own loss, for which Unsloth never has the logits of a whole row.
    """
    import torch

    losses = []
    with torch.no_grad(), chatter_hidden(), model.disable_adapter():
        for row in rows:
            columns = {"input_ids": row.input_ids, "labels": row.labels}
            batch = {k: torch.tensor([v], device=model.device) for k, v in columns.items()}
            loss = model(**batch, num_items_in_batch=1).loss.item()
            losses.append((loss, sum(label != IGNORED for label in row.labels[1:])))
    return losses
