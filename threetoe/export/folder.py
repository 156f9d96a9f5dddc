"""The folder that an export is filled in, beside its place, until it is whole and right."""

import shutil
from contextlib import contextmanager
from pathlib import Path

from threetoe.backend import model as backend
from threetoe.errors import Failure, UserError, unknown
from threetoe.export.merge.shards import PLAN
from threetoe.export.verify import verify
from threetoe.hooks.calls import Hooks
from threetoe.machine.files import check_writable, lock
from threetoe.options.export import ExportConfig

PARTIAL, FAILED = ".partial", ".failed"  # behind a folder's name, until it is whole or right
NEEDS = (  # options that would do nothing without one of the others
    ("dtype base_weights max_shard_size", "merged merged_4bit gguf ollama format"),
    ("private revision create_pr force", "push"),
    ("gguf_dir", "gguf"),
)


def beside(path: Path, ending: str) -> Path:
    """The folder of that ending behind its name."""
    path = path.absolute()
    return path.with_name(path.name + ending)


@contextmanager
def taken(partial: Path, what: str):
    """A partial folder held by this process alone; what is not a merge's to go on with is gone."""
    partial.mkdir(parents=True, exist_ok=True)
    with lock(partial, what, "export"):
        leave(partial, keep=(partial / PLAN).exists())
        partial.mkdir(exist_ok=True)
        yield


def leave(partial: Path, keep: bool) -> None:
    """Remove a partial folder, or with `keep` all that merge() does not go on with."""
    shards = [*partial.glob("*.safetensors"), *partial.glob("*.safetensors.index.json")]
    if not (keep and shards):
        return shutil.rmtree(partial, ignore_errors=True)
    for path in partial.iterdir():
        if path not in shards and path.name != PLAN and not path.name.endswith(".part"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def put(partial: Path, path: Path) -> None:
    """Give a folder that is whole its name."""
    (partial / PLAN).unlink(missing_ok=True)
    if path.is_dir():
        path.rmdir()  # empty, or check_target would have refused it
    partial.rename(path)


def fail(partial: Path, failed: Path, name: str, found: dict):
    """Put a folder that is wrong where nobody takes it for right; Failure says what is wrong."""
    shutil.rmtree(failed, ignore_errors=True)
    partial.rename(failed)
    raise Failure(
        f"The {name} export is wrong: {'; '.join(found['problems'])}. It is left in {failed} with "
        f"{verify.FILE}; nothing is pushed."
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


def check_formats(outputs: dict, hooks: Hooks, config) -> None:
    known = hooks.merge("register_exporters", config=config)
    for name in outputs:
        if name not in known:
            raise unknown("export format", name, known)


def check_target(name: str, path: Path) -> None:
    """UserError unless a folder can be made there, and nobody is making it."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UserError(f"{flag_of(name)} {path} exists already; name a new folder.")
    check_writable(path, flag_of(name))
    partial = beside(path, PARTIAL)
    if partial.is_dir():
        lock(partial, f"{flag_of(name)} {path}", "export").close()


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
        sources = [("the run", run), ("the base", Path(backend.locate(base)) if base else None)]
        for what, source in sources:
            if source and source.is_dir() and place.is_relative_to(source.resolve()):
                text = f"{asked} is inside {what}'s folder {source}; name a folder elsewhere."
                problems.append(text)
    if problems:
        raise UserError(*problems)
