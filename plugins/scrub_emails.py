"""Keeps e-mail addresses out of training data, questions and answers.

python train.py --dataset my.json --plugin plugins/scrub_emails.py
"""

import re

ADDRESS = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")


def map_messages(messages):
    return [_scrubbed(message) for message in messages]


def map_request(messages):
    return [_scrubbed(message) for message in messages]


def map_reply(reply):
    return ADDRESS.sub("[email]", reply)


def map_card(card):
    return card + "\nE-mail addresses were replaced by [email] before training.\n"


def _scrubbed(message):
    return {key: ADDRESS.sub("[email]", text) for key, text in message.items()}
