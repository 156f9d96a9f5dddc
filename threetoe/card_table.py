"""Tables of a model card, and values as its readers may see them."""

import re
from pathlib import PureWindowsPath


def table(title: str, name: str, value: str, rows: dict) -> str:
    """A Markdown table, with a heading where there is a title; '' without rows."""
    if not rows:
        return ""
    lines = [f"## {title}", ""] if title else []
    lines += [f"| {name} | {value} |", "|---|---|"]
    return "\n".join(lines + [f"| {cell(key)} | {cell(shown(rows[key]))} |" for key in rows])


def cell(value) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


def shown(value) -> str:
    """A value as a reader may see it: of a local path only its last part, lists in one line."""
    if isinstance(value, (list, tuple)):
        return ", ".join(map(shown, value))
    if isinstance(value, dict):
        return ", ".join(f"{key}: {shown(item)}" for key, item in value.items())
    if isinstance(value, float):
        return f"{value:.6g}"
    text = "" if value is None else str(value)
    if re.match(r"[/~\\]|\.{1,2}[/\\]|[A-Za-z]:[/\\]", text) and "\n" not in text:
        return PureWindowsPath(text).name
    return text
