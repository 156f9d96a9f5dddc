"""The metric valid_json: the share of answers that are JSON with the keys of the expected text.

python infer.py --file my.json --plugin plugins/valid_json.py
For a model that shall answer in JSON: whether a program can read what it says.
"""

import json


def register_metrics():
    return {"valid_json": _valid_json}


def _valid_json(answers, expected):
    pairs = [(_keys(answer), _keys(text)) for answer, text in zip(answers, expected, strict=True)]
    return sum(keys is not None and keys == wanted for keys, wanted in pairs) / len(pairs)


def _keys(text):
    """The keys of an object, the type of another value; None where a text is no JSON."""
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return sorted(value) if isinstance(value, dict) else type(value).__name__
