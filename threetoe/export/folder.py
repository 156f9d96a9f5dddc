"""The folder that an export is filled in, beside its place, until it is whole and right.

Beside DIR it is DIR.partial, and DIR.failed once the proof has found it wrong. Either is ours by
the MARK that is written into it first: what has none is the user's, and is not touched.
"""

import errno
import os
import shutil
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from threetoe.backend import model as backend
from threetoe.errors import Failure, UserError, unknown
from threetoe.export.formats import FORMATS, format_of
from threetoe.export.merge.shards import PLAN
from threetoe.export.verify import verify
from threetoe.hooks.calls import Hooks
from threetoe.machine.files import check_writable, lock, write_json
from threetoe.machine.terminal import clear_line, say
from threetoe.options.export import ExportConfig

PARTIAL, FAILED = ".partial", ".failed"
MARK = "export.partial.json"
TAKEN = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)  # of a rename: something is there by now
MERGING = [row.option for row in FORMATS.values() if row.merges]
NEEDS = (  # options that would do nothing without one of the others
    ("dtype base_weights max_shard_size rounding", [*MERGING, "format"]),
    ("private revision create_pr force", ["push"]),
    ("gguf_dir", ["gguf"]),
)


def beside(path: Path, ending: str) -> Path:
    """The folder of that ending behind its name."""
    path = path.absolute()
    return path.parent / (path.name + ending)


def asked_for(name: str, path: Path) -> str:
    """A format and its folder, as they stand on the command line."""
    return f"{format_of(name).flag} {path}"


@contextmanager
def filled_beside(name: str, path: Path):
    """The folder to fill for `path`, held by this process alone. When this ends it has been given
    its name, or is gone but for the shards that the next try goes on with."""
    partial, asked = beside(path, PARTIAL), asked_for(name, path)
    with held(partial, asked):
        try:
            check_free(path, asked)  # another export may just have ended there
            write_json(partial / MARK, {"format": name})
            clear(partial, keep=(partial / PLAN).exists())
            yield partial
        except BaseException as error:
            clear_line()
            kept = leave(partial, keep=format_of(name).resumes)
            if kept and isinstance(error, KeyboardInterrupt):
                say(f"{asked} is not whole; the same command goes on at its next shard")
            raise


def held(partial: Path, asked: str) -> ExitStack:
    """The lock on a partial folder, which is made; UserError when another export holds it."""
    while True:
        check_ours(partial, asked)
        partial.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # another export has just given it its name
            return lock(partial, asked, "export")


def clear(partial: Path, keep: bool) -> bool:
    """Empty a partial folder but for its mark and, with `keep`, for what merge() goes on with;
    whether there is any such thing."""
    kept = [*partial.glob("*.safetensors"), *partial.glob("*.safetensors.index.json")] * keep
    if kept:
        kept += [partial / PLAN, *partial.glob("*.part")]
    for path in partial.iterdir():
        if path.is_symlink() or path not in kept and path.name != MARK:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    return bool(kept)


def leave(partial: Path, keep: bool) -> bool:
    """Remove a partial folder, or with `keep` all that merge() does not go on with; whether there
    is any such thing."""
    kept = partial.is_dir() and clear(partial, keep)
    if not kept:
        shutil.rmtree(partial, ignore_errors=True)
    return kept


def put(partial: Path, path: Path, asked: str) -> None:
    """Give a folder that is whole its name, unless something bears it by now: UserError."""
    try:
        partial.rename(path)  # onto an empty folder, too
    except OSError as error:
        if error.errno not in TAKEN:
            raise
        leave(partial, keep=False)
        raise UserError(f"{asked} exists by now; name a new folder.") from None
    for name in (MARK, PLAN):
        (path / name).unlink(missing_ok=True)


def fail(partial: Path, path: Path, name: str, found: dict):
    """Put a folder that is wrong where nobody takes it for right; Failure says what is wrong."""
    failed = beside(path, FAILED)
    check_ours(failed, asked_for(name, path))
    shutil.rmtree(failed, ignore_errors=True)
    partial.rename(failed)
    raise Failure(
        f"The {name} export is wrong: {'; '.join(found['problems'])}. It is left in {failed} with "
        f"{verify.FILE}; nothing is pushed."
    )


def outputs_of(config: ExportConfig, folder: Path) -> dict[str, Path]:
    """format -> folder to make, for a run in `folder`."""
    asked = {name: getattr(config, row.place or row.option) for name, row in FORMATS.items()}
    if config.gguf and (not config.ollama or config.gguf[1:]):
        asked["gguf"] = config.gguf_dir or Path(f"{folder}-gguf")
    asked |= dict(config.format)
    return {name: Path(path) for name, path in asked.items() if path}


def check_options(config: ExportConfig) -> None:
    """UserError for each option that nothing else given would use."""
    default, problems = ExportConfig(), []
    for names, others in NEEDS:
        if any(getattr(config, other) for other in others):
            continue
        ways = " or ".join(f"--{other.replace('_', '-')}" for other in others)
        for name in names.split():
            if getattr(config, name) != getattr(default, name):
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
    asked, partial = asked_for(name, path), beside(path, PARTIAL)
    check_free(path, asked)
    check_writable(path, format_of(name).flag)
    for folder in (partial, beside(path, FAILED)):
        check_ours(folder, asked)
    if partial.is_dir():
        lock(partial, asked, "export").close()


def check_free(path: Path, asked: str) -> None:
    """UserError unless nothing is there but an empty folder."""
    if path.is_symlink():
        raise UserError(f"{asked} is a link; name a new folder.")
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UserError(f"{asked} exists already; name a new folder.")


def check_ours(folder: Path, asked: str) -> None:
    """UserError unless a folder beside an export's place is missing, empty, or ours by its mark."""
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else {"a file"}
    is_ours = MARK in names or names <= {f"{MARK}.tmp"}  # killed while the mark was written
    if folder.is_symlink() or folder.exists() and not is_ours:
        raise UserError(
            f"{asked}: {folder} is in the way, and not what an export left; move it, or name "
            "another folder."
        )


def check_apart(outputs: dict, run: Path, base: str | None) -> None:
    """UserError for folders of an export that are the same, or inside one another, the run's or
    the base's."""
    places = [(asked_for(n, path), Path(os.path.realpath(path))) for n, path in outputs.items()]
    problems = []
    for number, (asked, place) in enumerate(places):
        for other, there in places[:number]:
            if place == there:
                problems.append(f"{other} and {asked} are one folder; name two.")
            elif place.is_relative_to(there) or there.is_relative_to(place):
                problems.append(f"{other} and {asked}: one is inside the other; name two apart.")
        sources = [("the run", run)]
        if base and (folder := Path(backend.locate(base))).is_dir():
            sources.append(("the base", folder))
        for what, source in sources:
            if place.is_relative_to(source.resolve()):
                text = f"{asked} is inside {what}'s folder {source}; name a folder elsewhere."
                problems.append(text)
    if problems:
        raise UserError(*problems)
