"""Whether an exported folder's tokenizer, chat template and stop ids are those of the run."""

from pathlib import Path

from threetoe.backend.model import NO_CODE
from threetoe.errors import UserError, first_line
from threetoe.machine.records import read_json
from threetoe.prompt.encode import prompt_ids
from threetoe.prompt.tokenizer import encode_texts, fingerprint
from threetoe.run.contract import CUTTING, PROBES, SHOWN, first_apart, rendered, shown
from threetoe.run.probes import Prompt
from threetoe.run.record import Run


def problems(folder: Path, run: Run, prompts: list[Prompt], ours) -> list[str]:
    """A line for each kind of difference; loads the tokenizer as plain transformers does."""
    from transformers import AutoTokenizer

    try:
        theirs = AutoTokenizer.from_pretrained(folder, **NO_CODE)
        difference = first_difference(run, prompts, ours, theirs)
    except Exception as error:  # whatever a library, or a chat template, makes of a broken file
        difference = f"its tokenizer cannot be used: {first_line(error)}"
    return [line for line in (difference, *wrong_stops(folder, run)) if line]


def first_difference(run: Run, prompts: list[Prompt], ours, theirs) -> str | None:
    """Where apply_chat_template first gives other ids than ours; None when it never does."""
    for messages, ids in asked(run, prompts, ours):
        rendered = theirs.apply_chat_template(
            messages, add_generation_prompt=True, return_dict=True
        )["input_ids"]
        if rendered != ids:
            return difference_of("the prompt", ids, rendered, ours, theirs)
    for prompt in prompts:
        if prompt.text:
            (found,) = encode_texts([prompt.text], theirs)
            if found != prompt.ids:
                return difference_of("a text", prompt.ids, found, ours, theirs)
    if run.tokenizer_hash and fingerprint(theirs) != run.tokenizer_hash:
        return "its tokenizer gives texts other ids than the run was trained with"
    return None


def asked(run: Run, prompts: list[Prompt], tokenizer):
    """(messages, ids) of the prompts, and of conversations in which every text of a template
    stands."""
    for prompt in prompts:
        if prompt.messages:
            yield prompt.messages, prompt.ids
    for messages, pieces in rendered(run.the_template(), run.the_marks(), [*PROBES, CUTTING]):
        yield messages, prompt_ids(pieces, tokenizer)


def difference_of(what: str, ids: list[int], found: list[int], ours, theirs) -> str:
    place = first_apart(ids, found)
    here = slice(place, place + SHOWN)
    texts = shown(found[here], theirs), shown(ids[here], ours)
    return f"{what} has other ids than the run's from token {place} on: {texts[0]}, not {texts[1]}"


def wrong_stops(folder: Path, run: Run):
    """A line for each file whose stop ids are not the run's."""
    for name in ("generation_config.json", "config.json"):
        path = folder / name
        if name == "config.json" and not path.is_file():
            continue  # an adapter has none
        try:
            stops = read_json(path).get("eos_token_id")
        except UserError as error:
            yield first_line(error)
            continue
        stops = stops if isinstance(stops, list) else [stops]
        if stops != run.stop_ids:
            yield f"the stop ids in {name} are {stops}, and the run's {run.stop_ids}"
