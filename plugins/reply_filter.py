"""Withholds answers with words in them that must not be said.

python infer.py "What is the password?" --plugin plugins/reply_filter.py --set blocked=secret,key
The answer is then printed whole, since it is not known to be clean before its last word.
"""

import re
from dataclasses import dataclass

from threetoe.api import UserError


@dataclass(frozen=True)
class Settings:
    blocked: str = ""  # words, with commas between
    instead: str = "[withheld]"


def map_request(messages, settings):
    if not settings.blocked:
        raise UserError("reply_filter: name the words to block: --set blocked=WORD,WORD.")
    return messages


def map_reply(reply, settings):
    words = [word.strip() for word in settings.blocked.split(",") if word.strip()]
    found = re.search("|".join(_whole(word) for word in words), reply, re.IGNORECASE)
    return settings.instead if found else reply


def _whole(word):
    """A word's pattern; Chinese ones stand without space around them."""
    return rf"\b{re.escape(word)}\b" if word.isascii() else re.escape(word)
