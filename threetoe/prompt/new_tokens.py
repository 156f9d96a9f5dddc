"""Special tokens of a template that the base lacks or never learned, and the rows they train.

A token is a row of the input embeddings and one of lm_head (one row where the two are tied).
PEFT trains, saves and loads single rows (trainable_token_indices). Rows that the base has no
place for are all saved, so nothing depends on how a base is made larger.
"""

import re
from dataclasses import replace
from typing import NamedTuple

from threetoe.errors import UserError
from threetoe.prompt.template import Template

# What bases call the tokens they keep for others: Llama 3, Gemma, T5, Phi 3, Mistral.
RESERVED = re.compile(r"reserved|unused|extra_id|<\|dummy|\[control_\d")
NAMED = [f"{name}_token" for name in "bos eos pad unk sep cls mask".split()]
WHOLE = {"embed_tokens", "lm_head"}


class TokenRows(NamedTuple):
    """The rows of the embedding matrices that a run trains, by token id."""

    trained: tuple[int, ...]
    fresh: tuple[int, ...]  # those of them that stand for nothing yet: they start at the mean
    held: int  # how many rows the base has
    total: int  # how many the model must have


def arrange(
    template: Template, tokenizer, config, held: int
) -> tuple[Template, TokenRows | None, str]:
    """What --new-tokens makes of a template's special tokens: the template to be used, the rows
    to train (None for none), and a line to say ("" for none).

    With `add` the tokenizer gets the tokens that it lacks. `held`: how many rows the base has.
    """
    check_rows(tokenizer, config, held)
    missing = [t for t in template.special_tokens if t not in added_ids(tokenizer)]
    if config.new_tokens == "text":
        return template, None, as_text(template, missing, config.model)
    if config.new_tokens == "reserved":
        names = reserved_for(missing, template, tokenizer, config.model, held)
        template = renamed(template, names)
    else:
        names = {token: token for token in missing}
        add_tokens(tokenizer, missing)
    used = template.frame_tokens(added_ids(tokenizer), tokenizer.bos_token)
    rows = rows_to_train(used, names.values(), tokenizer, held)
    if not rows.trained:
        return template, None, f"{template.name} uses no special tokens: no rows are trained"
    for flag in ("--target-modules", "--modules-to-save"):
        if whole := WHOLE & {*(getattr(config, flag.strip("-").replace("-", "_")) or ())}:
            raise UserError(
                f"--new-tokens {config.new_tokens} trains single rows of what {flag} "
                f"{','.join(sorted(whole))} trains whole; leave that out."
            )
    return template, rows, as_tokens(template, names, rows)


def added_ids(tokenizer) -> dict[str, int]:
    """The tokens that a tokenizer finds as a whole in any text, flagged special or not."""
    return {token.content: i for i, token in tokenizer.added_tokens_decoder.items()}


def rows_needed(tokenizer) -> int:
    return max(tokenizer.get_vocab().values()) + 1


def check_rows(tokenizer, config, held: int) -> None:
    """UserError when tokens of the base's own tokenizer have no rows, unless they get them."""
    needed = rows_needed(tokenizer)
    if needed > held and config.new_tokens != "add":
        raise UserError(
            f"--model {config.model}: its tokenizer has {needed:,} tokens and its weights have "
            f"only {held:,} rows; --new-tokens add makes rows for the others."
        )


def as_text(template: Template, missing: list[str], model: str) -> str:
    if not missing:
        return ""
    return (
        f"{template.name}: {', '.join(missing)} are no tokens of {model} and are learned as plain "
        "text (--new-tokens reserved or add trains tokens for them)"
    )


def as_tokens(template: Template, names: dict[str, str], rows: TokenRows) -> str:
    said = [f"{old} is {new}" if old != new else f"{new} is new" for old, new in names.items()]
    tokens = len(template.special_tokens) or len(rows.trained)
    said.append(f"the rows of {tokens} tokens are trained")
    if rows.total > rows.held:
        said.append(f"the model grows from {rows.held:,} to {rows.total:,} rows")
    return f"{template.name}: {', '.join(said)}"


def add_tokens(tokenizer, missing: list[str]) -> None:
    """Gives the tokenizer special tokens, found in a text before it is normalised."""
    from transformers import AddedToken

    tokenizer.add_tokens([AddedToken(t, special=True, normalized=False) for t in missing], True)


def reserved_for(missing, template: Template, tokenizer, model: str, held: int) -> dict[str, str]:
    """A reserved token of the base for each missing one; UserError when it has too few."""
    if not missing:
        return {}
    texts = [*template.roles.values(), template.eos, *template.stop, tokenizer.chat_template or ""]
    named = {getattr(tokenizer, name) for name in NAMED}
    ids = added_ids(tokenizer)
    free = [
        token for token in sorted(ids, key=ids.__getitem__)
        if RESERVED.search(token) and token not in named and ids[token] < held
        and not any(token in text for text in texts)
    ]  # fmt: skip
    if len(free) < len(missing):
        raise UserError(
            f"--new-tokens reserved: {template.name} needs {len(missing)} reserved tokens and "
            f"{model} has {len(free)}; choose --new-tokens add or --new-tokens text."
        )
    return dict(zip(missing, free, strict=False))


def renamed(template: Template, names: dict[str, str]) -> Template:
    """The template with other special tokens in all of its texts."""
    if not names:
        return template
    longest_first = sorted(names, key=len, reverse=True)
    found = re.compile("|".join(map(re.escape, longest_first)))

    def rename(text: str) -> str:
        return found.sub(lambda match: names[match[0]], text)

    return replace(
        template,
        roles={role: rename(text) for role, text in template.roles.items()},
        eos=rename(template.eos),
        stop=tuple(map(rename, template.stop)),
        special_tokens=tuple(map(rename, template.special_tokens)),
    )


def rows_to_train(used: list[str], fresh, tokenizer, held: int) -> TokenRows:
    """The rows of all special tokens that are used, and every row that the base lacks."""
    ids = added_ids(tokenizer)
    total = grown(held, rows_needed(tokenizer))
    fresh = {*(ids[token] for token in fresh), *range(held, total)}
    trained = fresh | {ids[token] for token in used}
    return TokenRows(tuple(sorted(trained)), tuple(sorted(fresh)), held, total)


def grown(held: int, needed: int) -> int:
    """How many rows a model of `held` gets: its multiple is kept, for which kernels are fast."""
    if needed <= held:
        return held
    step = next(step for step in (64, 8, 1) if held % step == 0)
    return -(-needed // step) * step
