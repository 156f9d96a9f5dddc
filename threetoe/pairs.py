"""Pairs of a concept and its description: their JSON schema, finding and judging them."""

import json
import re

from threetoe.row_file import folded

COLUMNS = ("concept", "description")
OPENING = re.compile(r"[\[{]")  # of a list or an object
CONCEPT, DESCRIPTION = (1, 100), (8, 1000)  # characters


def schema_of(count: int) -> dict:
    """The JSON schema of an answer with at most `count` pairs."""
    pair = {
        "type": "object",
        "properties": {name: {"type": "string"} for name in COLUMNS},
        "required": list(COLUMNS),
        "additionalProperties": False,
    }
    pairs = {"type": "array", "items": pair, "minItems": 1, "maxItems": count}
    shape = {
        "type": "object",
        "properties": {"pairs": pairs},
        "required": ["pairs"],
        "additionalProperties": False,
    }
    return {"name": "pairs", "strict": True, "schema": shape}


def pairs_in(answer: str) -> list[dict]:
    """Every pair of an answer, as texts: from an object, a list, a fenced block, a line each, or
    as far as it goes where it is cut off."""
    found, place = [], 0
    while start := OPENING.search(answer, place):
        value, place = json_at(answer, start.start())
        found += pairs_of(value)
    return found


def json_at(text: str, place: int) -> tuple:
    """(the JSON value that starts here, its end); (None, the next place) where none does."""
    try:
        return json.JSONDecoder().raw_decode(text, place)
    except (ValueError, RecursionError):  # a bracket in a sentence, or an answer cut off
        return None, place + 1


def pairs_of(value) -> list[dict]:
    """The pairs of a JSON value, however deep."""
    if isinstance(value, list):
        return [pair for item in value for pair in pairs_of(item)]
    if not isinstance(value, dict):
        return []
    named = {str(name).strip().lower(): item for name, item in value.items()}
    if set(COLUMNS) <= set(named):
        return [{name: as_text(named[name]) for name in COLUMNS}]
    return [pair for item in value.values() for pair in pairs_of(item)]


def as_text(value) -> str:
    return " ".join(value.split()) if isinstance(value, str) else ""


def problem_of(pair: dict, known: set[str]) -> str | None:
    """Why a pair is no use; None where it is."""
    concept, description = folded(pair["concept"]), folded(pair["description"])
    if not concept or not description:
        return "concept or description is empty"
    for name, (least, most) in zip(COLUMNS, (CONCEPT, DESCRIPTION), strict=True):
        if not least <= len(pair[name]) <= most:
            return f"the {name} has not {least} to {most} characters"
    if concept == description:
        return "the description is the concept again"
    return "the concept is there already" if concept in known else None
