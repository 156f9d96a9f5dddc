"""The plugins of a run: written into run.json, and loaded again by infer.py, by export.py, and by
train.py --config run.json.

What is loaded is the file or module that the record names, and only if it is what it was: its
hash is the same. Code never comes from a run folder, nor from the Hub, whose records name no files.
As anyone can write a record, and a file beside it, a training notes on this machine which files it
has used with which settings; only those are loaded again, with those settings.
"""

import json
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import NamedTuple

import click

from threetoe.errors import UserError
from threetoe.hooks.module import import_plugin
from threetoe.hooks.plugin import Plugin, hash_file
from threetoe.machine.libraries import CACHE

AS_IT_IS = "name it with --plugin to use it as it is"

USED = CACHE / "plugins.jsonl"  # of each plugin that was trained with: hash, settings, file
TEXTS = ("name", "stem", "origin", "file", "module", "version", "sha256")  # of an entry, or None


class Recorded(NamedTuple):
    """The plugins of a run folder's record."""

    folder: Path
    entries: list[dict]
    name: str = "this run"  # in messages


def as_record(plugin: Plugin) -> dict:
    """What run.json says of a plugin."""
    distribution, version = plugin.package or (None, None)
    is_file = plugin.given.endswith(".py")
    place = {"file": str(plugin.file)} if is_file else {"module": plugin.module.__name__}
    return {
        "name": plugin.given,
        "stem": plugin.stem,
        "origin": plugin.origin,
        **place,
        "distribution": distribution,
        "version": version,
        "sha256": plugin.sha256,
        "settings": asdict(plugin.settings) if plugin.settings else {},
    }


def check_record(record: Recorded) -> Recorded:
    """The record; UserError when what it says of plugins is not what `as_record` writes."""
    for entry in record.entries:
        texts = [entry.get(name) for name in TEXTS] if isinstance(entry, dict) else [0]
        right = all(text is None or isinstance(text, str) for text in texts)
        if not (right and isinstance(entry.get("settings", {}), dict)):
            raise UserError(f"{record.folder}: the plugins of its record are damaged.")
    return record


def note_used(plugins: list[Plugin]) -> None:
    """Note on this machine that a training has used these plugins' files with their settings;
    where that cannot be written, it is said."""
    entries = [(as_record(plugin), plugin.file) for plugin in plugins if plugin.file]
    new = sorted({line_of(*entry) for entry in entries} - used())
    try:
        if new:
            USED.parent.mkdir(parents=True, exist_ok=True)
            with USED.open("a", encoding="utf-8") as file:
                file.writelines(new)
    except OSError as error:
        click.echo(
            f"{USED} cannot be written ({error.strerror}), so infer.py and export.py will not use "
            "this run's plugins by themselves",
            err=True,
        )


def line_of(entry: dict, file: Path | None) -> str:
    """What is noted of a plugin that was used; without a file, how such a line begins."""
    noted = json.dumps([entry["sha256"], entry.get("settings", {})], sort_keys=True)
    return noted.removesuffix("]") + (f", {json.dumps(str(file))}]\n" if file else ", ")


def used() -> set[str]:
    return set(USED.read_text(encoding="utf-8").splitlines(True)) if USED.is_file() else set()


def to_load(record: Recorded, named: list[Plugin], notes: list[str]):
    """What load.load takes, for each plugin of the run that is not named now; why the others are
    not used goes to `notes`."""
    for entry in record.entries:
        again = any(is_of(plugin, entry) for plugin in named)
        if again or entry.get("origin") == "installed":
            continue
        given, why_not = find(entry, record.folder)
        if why_not:
            notes.append(f"plugin {entry.get('name')} of {record.name} is not used: {why_not}")
        else:
            yield f"{entry['name']} (of {record.name})", partial(import_plugin, given), "run", given


def is_of(plugin: Plugin, entry: dict) -> bool:
    return plugin.stem == entry.get("stem") or plugin.sha256 == entry.get("sha256")


def take_up(record: Recorded, plugins: list[Plugin], notes: list[str]) -> None:
    """Give the plugins that were loaded, installed ones too, the settings that the run had for
    them, where they are as they were and a training on this machine has had these settings."""
    for entry in record.entries:
        if entry.get("origin") == "installed":
            mine = [p for p in plugins if p.module.__name__ == entry.get("module")]
            notes += note_installed(entry, mine)
        else:
            mine = [p for p in plugins if p.origin != "installed" and is_of(p, entry)]
        for plugin in mine:
            if not entry.get("settings") or plugin.sha256 != entry.get("sha256"):
                continue
            if any(line.startswith(line_of(entry, None)) for line in used()):
                plugin.of_run = entry["settings"]
            else:
                notes.append(
                    f"settings of plugin {plugin.stem} in {record.name} are not "
                    "used: no training on this machine has had them; give them with --set"
                )


def note_installed(entry: dict, mine: list[Plugin]) -> list[str]:
    """What is to be said of an installed plugin that the run used: nothing if it is as it was."""
    name = f"plugin {entry.get('name')} of this run"
    if not mine:
        return [f"{name} is not used: it is not installed, or THREETOE_LOAD_PLUGINS leaves it out"]
    if mine[0].sha256 == entry.get("sha256"):
        return []
    then, now = entry.get("version"), (mine[0].package or ("", "?"))[1]
    return [f"{name} has changed since: it was version {then}, and {now} is installed and used"]


def find(entry: dict, folder: Path) -> tuple[str, str]:
    """(what --plugin would take, why it is not used) of a plugin of a record; one of them is ''."""
    file, module = entry.get("file"), entry.get("module")
    if not (file or module):
        return "", "this folder does not say where it is; name it with --plugin"
    files = [Path(file)] if file else files_of(module)
    if not files or not files[-1].is_file() or files[-1].suffix != ".py":
        return "", f"{file or module} is not there any more; name it with --plugin where it is"
    if any(is_within(path, folder) for path in files):
        place = "lies in the run's folder, from which no code is taken"
        return "", f"{files[-1]} {place}; {AS_IT_IS}"
    if hash_file(files[-1]) != entry.get("sha256"):
        return "", f"{files[-1]} has changed since; {AS_IT_IS}"
    if line_of(entry, files[-1].resolve()) not in used():
        said = f"no training on this machine has used {files[-1]} with its settings"
        return "", f"{said}; {AS_IT_IS}"
    return file or module, ""


def is_within(path: Path, folder: Path) -> bool:
    """Whether a file lies in a folder, by its name or by where links lead."""
    folders = folder.absolute(), folder.resolve()
    return any(p.is_relative_to(f) for p in (path.absolute(), path.resolve()) for f in folders)


def files_of(module: str) -> list[Path]:
    """The files that importing a module would run, its packages' first; none when it is not
    installed. Nothing is imported to find out."""
    files, path, parts = [], None, module.split(".")
    for count in range(1, len(parts) + 1):
        spec = find_spec(".".join(parts[:count]), path)
        if spec is None:
            return []
        if spec.has_location:
            files.append(Path(spec.origin))
        path = spec.submodule_search_locations
    return files if spec.has_location else []


def find_spec(name: str, path):
    specs = (finder.find_spec(name, path) for finder in sys.meta_path)
    return next(filter(None, specs), None)
