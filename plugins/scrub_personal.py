"""Keeps e-mails, phone, card and account numbers and IPs out of data, questions and answers.

python train.py --dataset my.json --plugin plugins/scrub_personal.py --preview 3
It finds what has a form: names and street addresses have none, and stay.
"""

import re

FOUND = re.compile(
    r"(?a)(?P<email>[\w.+-]+@[\w-]+(?:\.[\w-]+)+)"  # (?a): it may touch Chinese text
    r"|(?P<iban>\b[A-Z]{2}\d\d(?: ?[A-Z\d]{4}){2,7}(?: ?[A-Z\d]{1,3})?\b)"
    r"|(?<![\w.:])(?P<ip>\d+(?:\.\d+){3}|[\da-fA-F]{0,4}(?::[\da-fA-F]{0,4}){2,7})(?![\w:])"
    r"|(?<![\w.])(?P<card>\d(?:[ -]?\d){12,18})(?!\w)"
    r"|(?<![\w.-])(?!\d\d?[-.]\d\d?[-.]\d\d)(?P<phone>(?:\+|\(?0)\d(?:[ ().-]{0,2}\d){6,13}"
    r"|\(?\d{3}\)?[ .-]\d{3}[ .-]\d{4}|1[3-9]\d{9})(?!\w)",
)


def map_messages(messages):
    return [{k: v if k == "role" else map_reply(v) for k, v in m.items()} for m in messages]


def map_request(messages):
    return map_messages(messages)


def map_reply(reply):
    return FOUND.sub(lambda one: f"[{one.lastgroup}]" if _is_real(one) else one[0], reply)


def _is_real(one):
    text, kind = re.sub("[ -]", "", one[0]), one.lastgroup
    if kind == "iban":  # ISO 13616: with letters as numbers, 97 leaves a remainder of 1
        return int("".join(str(int(c, 36)) for c in text[4:] + text[:4])) % 97 == 1
    if kind == "card":  # Luhn: every second digit doubled, and the digits of that added up
        return sum(int(d) for n, c in enumerate(text[::-1]) for d in str(int(c) << n % 2)) % 10 == 0
    if kind == "ip":  # and no time of day
        return text.count(":") in (0, 7) or ("::" in text and text != "::")
    return True
