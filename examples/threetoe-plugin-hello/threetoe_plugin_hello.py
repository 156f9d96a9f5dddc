"""A plugin for Threetoe: a function with a hook's name is that hook.

A hook takes any of its arguments, by name; a helper's name starts with an underscore.
"""


def map_messages(messages):
    """Drop a row whose answer repeats the question: it would teach the model to echo."""
    asked, answer = (message["content"].strip() for message in messages[-2:])
    return None if asked == answer else messages
