"""What a training has to have in common with the one that it continues, and what differs."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

from threetoe import __version__
from threetoe.errors import UserError
from threetoe.hooks.of_run import as_record
from threetoe.hooks.plugin import OURS, Plugin
from threetoe.machine import processes
from threetoe.machine.records import of_kind
from threetoe.machine.terminal import say
from threetoe.options.train import TrainConfig, options_of
from threetoe.run.record import PARTIAL, package_versions
from threetoe.train.durable import checkpoint
from threetoe.train.durable.checkpoint import Checkpoint
from threetoe.train.durable.mirror import FolderPlace, place_of

FREE = """
    output_dir push_to preview dry_run resume resume_anyway overwrite save_steps save_total_limit
    mirror allow_dropped plugin settings max_hours finish_by then rehearse report_to run_name
    logging_steps sample_steps sample_prompts save_config
""".split()  # options that change no bit of the adapter; plugins are compared by their hashes, and
# of a time that may be another one, whether there is one
HEAD = 64  # numbers of each weight of the base that are compared
ROWS_AT_ONCE = 10_000


class Identity(TypedDict):
    """What is read of `identity` by name."""

    per_device_train_batch_size: int
    versions: dict[str, str]
    plugins: dict[str, list]


class Facts(TypedDict):
    """What a checkpoint's manifest tells, beside the hashes of its files."""

    identity: Identity
    base: str
    seconds: float
    sums: dict[str, float]
    total: int
    parts: int
    callbacks: dict[str, dict]


def find(config: TrainConfig, run: Path) -> tuple[Checkpoint | None, list[str]]:
    """The checkpoint that --resume means: the latest whole one of an unfinished run folder or its
    mirror, the one that is named, or none; and a line for each that is passed over."""
    if config.resume == "never":
        return None, []
    if config.resume != "auto":
        found, problem = checkpoint.read(Path(config.resume).expanduser())
        if not found:
            raise UserError(f"--resume {config.resume}: {problem}; name another, or auto.")
        return found, []
    places = [FolderPlace(run)] if (run / PARTIAL).exists() else []
    places += [place_of(config.mirror, run)] if config.mirror else []
    latest, passed_over = None, []
    for place in places:
        found, lines = place.newest()
        passed_over += lines
        if found and (latest is None or found.step > latest.step):
            latest = found
    return latest, passed_over


def identity(config: TrainConfig, template_hash: str, plugins: list[Plugin], rows) -> dict:
    """What has to be the same, as JSON has it; `rows` is the Dataset that is trained."""
    records = map(as_record, plugins)
    found = {
        **{k: v for k, v in options_of(config).items() if k not in FREE},
        "a limit of time": config.is_timed,
        "the template's text": template_hash,
        "the rows": hash_of_rows(rows),
        "processes": processes.count(),
        "plugins": {r["stem"]: [r["sha256"], r["settings"]] for r in records},
        "versions": {"threetoe": f"{__version__} ({hash_of_code()[:8]})", **package_versions()},
    }
    return json.loads(json.dumps(found, default=str))


def hash_of_code() -> str:
    """A hash of all of Threetoe's own files."""
    digest = hashlib.sha256()
    for path in sorted(OURS.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def hash_of_rows(rows) -> str:
    """A hash of all ids and labels in their order."""
    digest = hashlib.sha256(str(len(rows)).encode())
    table = rows.with_format("arrow")
    for start in range(0, len(rows), ROWS_AT_ONCE):
        part = table[start : start + ROWS_AT_ONCE]
        for name in ("length", "input_ids", "labels"):
            column = part.column(name).combine_chunks()
            values = column if name == "length" else column.flatten()
            digest.update(values.to_numpy(zero_copy_only=False).tobytes())
    return digest.hexdigest()


def hash_of_base(model) -> str:
    """A hash of the names and first numbers of all weights that are not trained."""
    import torch

    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            head = parameter.detach().flatten()[:HEAD].cpu().contiguous()
            digest.update(name.encode() + head.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def begin(config: TrainConfig, run: Path, now: dict) -> Checkpoint | None:
    """The checkpoint that is continued, once it is known to be of this very training."""
    found, passed_over = find(config, run)
    for line in passed_over:
        say(line)
    if found:
        check_facts(found)
        check(found, now, config.resume_anyway)
        there = "" if found.folder.parent == run else f", which is in {found.folder}"
        say(f"continuing {run} from step {found.step}{there}")
    return found


def check_facts(found: Checkpoint) -> None:
    """UserError where what its manifest tells is of other types; its hash may be anyone's."""
    of_kind(found.facts, Facts, found.folder / checkpoint.MANIFEST)


def check_base(found: Checkpoint | None, base: str) -> None:
    """UserError where the weights of the base are others than those that were trained on."""
    if found and found.facts["base"] != base:
        raise UserError(
            f"{found.folder} was trained on other weights of the base; start anew with --resume "
            "never, or name another --output-dir."
        )


def check(found: Checkpoint, now: dict, anyway: bool) -> None:
    """UserError where the training that is asked for is not the one that was begun."""
    then = found.facts["identity"]
    lines, others = (
        list(differences(then, now)),
        list(differences(then["versions"], now["versions"])),
    )
    if then["plugins"] != now["plugins"]:
        others.append("plugins changed")
    if others and anyway:
        say(f"continuing all the same: {'; '.join(others)}")
    elif others:
        lines += [f"{line} (--resume-anyway continues all the same)" for line in others]
    if lines:
        raise UserError(
            f"{found.folder} is of another training: {'; '.join(lines)}. Ask for the same again, "
            "start anew with --resume never, or name another --output-dir."
        )


def differences(then: dict, now: dict) -> Iterator[str]:
    """'learning_rate was 0.0002, is 0.0001' for each value that differs, the versions and plugins
    apart."""
    for name in sorted((then.keys() | now.keys()) - {"versions", "plugins"}):
        one, other = then.get(name), now.get(name)
        if one != other:
            brief = all(isinstance(v, (int, float, str, type(None))) for v in (one, other))
            long = name.startswith("the ") or not brief
            yield f"{name} changed" if long else f"{name} was {one}, is {other}"
