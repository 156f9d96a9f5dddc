"""What Ollama does with a Modelfile: its parser, and Go templates as far as ours use them.

The rules are those of Ollama's parser/parser.go, template/template.go (collate) and
server/routes.go (SYSTEM), and of Go's text/template. What is not known here raises.
"""

import re

PIECE = re.compile(r'\{\{(-\s)?\s*((?:"(?:[^"\\]|\\.)*"|[^"])*?)\s*(\s-)?\}\}')
TOKEN = re.compile(r'\s*(?:("(?:[^"\\]|\\.)*")|(\d+)|([()])|([$.\w]+))')
ESCAPE = re.compile(r"\\U([0-9a-f]{8})")
SPACE = " \t\r\n"  # what Go trims


def read_modelfile(text):
    """[(command or parameter, value)], in the file's order."""
    found = []
    while text := text.lstrip(SPACE):
        if text[0] == "#":
            text = re.sub(r"\A[^\r\n]*", "", text)
            continue
        name, text = split(r"([A-Za-z]+)[ \t]", text)
        if name.lower() == "parameter":
            name, text = split(r"(\w+)[ \t]", text)
        value, text = read_value(text)
        found.append((name.lower(), value))
    return found


def split(pattern, text):
    match = re.match(pattern, text)
    if not match:
        raise ValueError(f"no command: {text[:40]!r}")
    return match[1], text[match.end() :]


def read_value(text):
    """A value and what follows it. It ends at the first line break where its quotes are closed;
    characters that are not printable are dropped."""
    kept = ""
    for place, character in enumerate(text + "\n"):
        if character in "\r\n" and (value := unquoted(kept.strip(SPACE))) is not None:
            return value, text[place:]
        if character.isprintable() or character in SPACE:
            kept += character
    raise ValueError(f"no end: {text[:40]!r}")


def unquoted(text):
    """The value in its quotes; None where they are not closed yet."""
    for quotes in ('"""', '"'):
        if text.startswith(quotes):
            closed = len(text) >= 2 * len(quotes) and text.endswith(quotes)
            return text[len(quotes) : -len(quotes)] if closed else None
    return text


def ask_ollama(modelfile, messages):
    """The text that Ollama asks a model with, but for the BOS in front."""
    values = dict(read_modelfile(modelfile))
    if messages[0]["role"] != "system" and values.get("system"):
        messages = [{"role": "system", "content": values["system"]}, *messages]
    collated = []
    for message in messages:
        new = {"Role": message["role"], "Content": message["content"]}
        if collated and collated[-1]["Role"] == new["Role"]:
            new["Content"] = collated.pop()["Content"] + "\n\n" + new["Content"]
        collated.append(new)
    return render_go(values["template"], {"Messages": collated})


def render_go(template, data):
    """The output of a Go template with these values."""
    nodes, rest = block(iter(lexed(template)), ends=())
    assert rest is None
    return "".join(run(nodes, [{"$": data}], data))


def lexed(template):
    """(is an action, text), with the trimming of {{- and -}} done."""
    done, trim, found = 0, False, []
    for match in [*PIECE.finditer(template), None]:
        text = template[done : match.start()] if match else template[done:]
        if "{{" in text:
            raise SyntaxError(f"an action that does not end: {text!r}")
        text = text.lstrip(SPACE) if trim else text
        text = text.rstrip(SPACE) if match and match[1] else text
        found.append((False, text))
        if match:
            found.append((True, match[2]))
            done, trim = match.end(), bool(match[3])
    return found


def block(pieces, ends):
    """(nodes, the action that ended them): up to an action that starts with one of `ends`."""
    nodes = []
    for action, text in pieces:
        word = text.split(" ")[0] if action else ""
        if word in ("end", "else"):
            if word not in ends:
                raise SyntaxError(text)
            return nodes, text
        if word == "if":
            nodes.append(branches(pieces, text.removeprefix("if ")))
        elif word == "range":
            loop = re.fullmatch(r"range (\$\w+), (\$\w+) := (.+)", text).groups()
            nodes.append(("range", loop, block(pieces, ("end",))[0]))
        else:
            nodes.append(("action" if action else "text", text))
    if ends:
        raise SyntaxError(f"no {ends}")
    return nodes, None


def branches(pieces, condition):
    then, last = block(pieces, ("else", "end"))
    if last.startswith("else if "):
        otherwise = [branches(pieces, last.removeprefix("else if "))]
    else:
        otherwise = block(pieces, ("end",))[0] if last == "else" else []
    return "if", condition, then, otherwise


def run(nodes, scopes, dot):
    """The texts of nodes; `scopes` are the variables, innermost last."""
    for kind, *values in nodes:
        if kind == "text":
            yield values[0]
        elif kind == "action":
            yield act(values[0], scopes, dot)
        elif kind == "if":
            inner = [*scopes, {}]
            yield from run(values[1] if value_of(values[0], inner, dot) else values[2], inner, dot)
        else:
            (index, element, items), body = values
            for place, item in enumerate(value_of(items, scopes, dot)):
                yield from run(body, [*scopes, {index: place, element: item}], item)


def act(text, scopes, dot):
    """What an action prints: nothing where it sets a variable."""
    if found := re.fullmatch(r"(\$\w+) (:?=) (.+)", text):
        name, sign, expression = found.groups()
        own = [scope for scope in reversed(scopes) if sign == ":=" or name in scope][0]
        own[name] = value_of(expression, scopes, dot)
        return ""
    value = value_of(text, scopes, dot)
    if not isinstance(value, str):
        raise TypeError(f"{text} prints a {type(value).__name__}")
    return value


def value_of(expression, scopes, dot):
    tokens, place = [], 0
    while place < len(expression):
        match = TOKEN.match(expression, place)
        if not match:
            raise SyntaxError(expression)
        tokens.append(match[0].strip())
        place = match.end()
    value = pipeline(tokens, scopes, dot)
    if tokens:
        raise SyntaxError(expression)
    return value


def pipeline(tokens, scopes, dot):
    """Take an expression off the front of the tokens: a value, or a function and its operands."""
    function = FUNCTIONS[tokens.pop(0)] if tokens[0].isalpha() else None
    operands = []
    while tokens and tokens[0] != ")":
        operands.append(operand(tokens, scopes, dot))
    return function(*operands) if function else (lambda only: only)(*operands)


def operand(tokens, scopes, dot):
    token = tokens.pop(0)
    if token == "(":
        value = pipeline(tokens, scopes, dot)
        tokens.remove(")")
        return value
    if token.startswith('"'):
        return go_string(token[1:-1])
    if token.isdigit():
        return int(token)
    variable, *fields = token.split(".")
    value = dot
    if variable:
        (value, *_) = [scope[variable] for scope in reversed(scopes) if variable in scope]
    for field in fields:
        value = value[field]
    return value


def go_string(text):
    plain = ESCAPE.sub("", text)
    if "\\" in plain or '"' in plain:
        raise SyntaxError(text)
    return ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)


def equal(left, right):
    if type(left) is not type(right):
        raise TypeError("eq of different types")
    return left == right


FUNCTIONS = {
    "and": lambda first, *more: next((value for value in (first, *more) if not value), more[-1]),
    "eq": equal,
    "ne": lambda left, right: not equal(left, right),
    "not": lambda value: not value,
    "len": len,
    "slice": lambda items, start: items[start:],
}
