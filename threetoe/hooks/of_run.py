"""The plugins of a run: written into run.json, and loaded again by infer.py, by export.py, and by
train.py --config run.json.

What is loaded is the file or module that the record names, and only if it is what it was: its
hash is the same. Code never comes from a run folder, nor from the Hub, whose records name no files.
As anyone can write a record, and a file beside it, a training notes on this machine which files it
has used with which settings; only those are loaded again, with those settings.
"""

import importlib.util
import json
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import NamedTuple

from threetoe.errors import UserError
from threetoe.hooks.module import import_plugin
from threetoe.hooks.plugin import Plugin, hash_file
from threetoe.machine.libraries import CACHE
from threetoe.machine.terminal import say

AS_IT_IS = "name it with --plugin to use it as it is"
USED = CACHE / "plugins.tsv"  # of each plugin that was trained with: hash and settings, file
TEXTS = ("name", "stem", "origin", "file", "module", "version", "sha256")  # of an entry, or None


class Recorded(NamedTuple):
    """The plugins of a run folder's record."""

    folder: Path
    entries: list[dict]
    name: str = "this run"  # in messages


def as_record(plugin: Plugin) -> dict:
    """What run.json says of a plugin."""
    distribution, version = plugin.package or (None, None)
    module = {} if plugin.given.endswith(".py") else {"module": plugin.module.__name__}
    return {
        "name": plugin.given,
        "stem": plugin.stem,
        "origin": plugin.origin,
        "file": str(plugin.file) if plugin.file else None,
        **module,
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
    new = {(code_of(as_record(p)), str(p.file)) for p in plugins if p.file} - used()
    try:
        if new:
            USED.parent.mkdir(parents=True, exist_ok=True)
            with USED.open("a", encoding="utf-8") as file:
                file.writelines(f"{code}\t{place}\n" for code, place in sorted(new))
    except OSError as error:
        say(
            f"{USED} cannot be written ({error.strerror}), so infer.py and export.py will not use "
            "this run's plugins by themselves"
        )


def code_of(entry: dict) -> str:
    """What has to be the same for a plugin to be used again: the hash of its file, and settings."""
    return json.dumps([entry.get("sha256"), entry.get("settings", {})], sort_keys=True)


def used() -> set[tuple[str, str]]:
    """(code_of, file) of each plugin that a training on this machine has used."""
    lines = USED.read_text(encoding="utf-8").splitlines() if USED.is_file() else ()
    return {line.partition("\t")[::2] for line in lines}


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
            if any(code == code_of(entry) for code, _ in used()):
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
    file, module = Path(entry.get("file") or ""), entry.get("module")
    if not entry.get("file"):
        return "", "this folder does not say where it is; name it with --plugin"
    is_there = file.is_file() and file.suffix == ".py"
    if not is_there or module and not is_module_of(file, module):
        return "", f"{file} is not there any more; name it with --plugin where it is"
    if is_within(file, folder):
        place = "lies in the run's folder, from which no code is taken"
        return "", f"{file} {place}; {AS_IT_IS}"
    if hash_file(file) != entry.get("sha256"):
        return "", f"{file} has changed since; {AS_IT_IS}"
    if (code_of(entry), str(file.resolve())) not in used():
        said = f"no training on this machine has used {file} with its settings"
        return "", f"{said}; {AS_IT_IS}"
    return module or str(file), ""


def is_within(path: Path, folder: Path) -> bool:
    """Whether a file lies in a folder, by its name or by where links lead."""
    folders = folder.absolute(), folder.resolve()
    return any(p.is_relative_to(f) for p in (path.absolute(), path.resolve()) for f in folders)


def is_module_of(file: Path, name: str) -> bool:
    """Whether importing a module by this name would run this file and its packages' own. Nothing is
    imported to find out, as find_spec would import the packages of a name with dots."""
    top, *below = name.split(".")
    spec = importlib.util.find_spec(top) if top else None
    if spec is None or not (spec.submodule_search_locations or spec.origin):
        return False
    places = [Path(place, *below) for place in spec.submodule_search_locations or ()]
    files = [f for p in places for f in (p.with_suffix(".py"), p / "__init__.py")]
    files = files or [Path(spec.origin, *below)]  # a module alone has nothing below it
    return file.resolve() in [path.resolve() for path in files]
