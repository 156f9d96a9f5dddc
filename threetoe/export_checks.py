"""What an export is asked to write, and where: names, folders and options that go together."""

from pathlib import Path

from threetoe import backend
from threetoe import run as runs
from threetoe.config_export import ExportConfig
from threetoe.errors import UserError, unknown
from threetoe.export_folder import PARTIAL, beside
from threetoe.hooks import Hooks

NEEDS = (  # options that would do nothing without one of the others
    ("dtype base_weights max_shard_size", "merged merged_4bit gguf ollama format"),
    ("private revision create_pr force", "push"),
    ("gguf_dir", "gguf"),
)


def outputs_of(config: ExportConfig, folder: Path) -> dict[str, Path]:
    """format -> folder to make, for a run in `folder`."""
    asked = {"adapter": config.adapter, "merged": config.merged, "merged-4bit": config.merged_4bit}
    if config.gguf and (config.gguf_dir or not config.ollama or config.gguf[1:]):
        asked["gguf"] = config.gguf_dir or Path(f"{folder}-gguf")
    asked |= {"ollama": config.ollama, **dict(config.format)}
    return {name: Path(path) for name, path in asked.items() if path}


def flag_of(name: str) -> str:
    flags = {"gguf": "--gguf-dir"}
    known = ("adapter", "merged", "merged-4bit", "ollama")
    return f"--{name}" if name in known else flags.get(name, f"--format {name}")


def check_options(config: ExportConfig) -> None:
    """UserError for each option that nothing else given would use."""
    default, problems = ExportConfig(), []
    for names, others in NEEDS:
        if any(getattr(config, other) for other in others.split()):
            continue
        flags = [f"--{other.replace('_', '-')}" for other in others.split()]
        for name in names.split():
            if getattr(config, name) != getattr(default, name):
                ways = " or ".join(flags)
                problems.append(f"--{name.replace('_', '-')} does nothing without {ways}.")
    if problems:
        raise UserError(*problems)


def check_formats(outputs: dict, hooks: Hooks) -> None:
    known = hooks.merge("register_exporters")
    for name in outputs:
        if name not in known:
            raise unknown("export format", name, known)


def check_target(name: str, path: Path) -> None:
    """UserError unless a folder can be made there, and nobody is making it."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UserError(f"{flag_of(name)} {path} exists already; name a new folder.")
    runs.check_writable(path, flag_of(name))
    partial = beside(path, PARTIAL)
    if partial.is_dir():
        runs.lock(partial, f"{flag_of(name)} {path}", "export").close()


def check_apart(outputs: dict, run: Path, base: str | None) -> None:
    """UserError for folders of an export that are the same, or inside one another, the run's or
    the base's."""
    places = [(f"{flag_of(name)} {path}", path.resolve()) for name, path in outputs.items()]
    problems = []
    for number, (asked, place) in enumerate(places):
        for other, there in places[:number]:
            if place == there:
                problems.append(f"{other} and {asked} are one folder; name two.")
            elif place.is_relative_to(there) or there.is_relative_to(place):
                problems.append(f"{other} and {asked}: one is inside the other; name two apart.")
        sources = [("the run", run), ("the base", Path(backend.location(base)) if base else None)]
        for what, source in sources:
            if source and source.is_dir() and place.is_relative_to(source.resolve()):
                text = f"{asked} is inside {what}'s folder {source}; name a folder elsewhere."
                problems.append(text)
    if problems:
        raise UserError(*problems)
