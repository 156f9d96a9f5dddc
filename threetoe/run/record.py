"""The run folder: adapter, tokenizer, run.json and metrics.jsonl, complete or not there.

run.json is written last and in one step, so a folder that has it is whole. While a run is
under way the folder holds run.partial.json instead.
"""

import os
import shutil
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from threetoe import __version__
from threetoe.errors import UserError
from threetoe.machine.files import check_writable, lock, write_json
from threetoe.machine.processes import is_first
from threetoe.machine.records import read_json
from threetoe.options.train import TrainConfig
from threetoe.prompt import template
from threetoe.prompt.pieces import Marks
from threetoe.prompt.template import Template
from threetoe.prompt.tokenizer_template import TokenizerTemplate, of_fields
from threetoe.run.fields import Account, Figures, MarkTexts, Options

RECORD, PARTIAL = "run.json", "run.partial.json"
METRICS, SAMPLES = "metrics.jsonl", "samples.jsonl"
LOSS, CONFUSION = "loss.png", "confusion.png"
SCORES = "scores.jsonl"  # of validation answers, by step
PRIVATE = ("file", "module", "settings")  # of a plugin
HERE = "output_dir push_to mirror resume then sample_prompts".split()  # options of this machine
PLACES = ("examples", "first_truncated")  # of a data account: rows by file and line
PACKAGES = "torch transformers trl peft accelerate bitsandbytes datasets unsloth".split()
EVALUATIONS = "evaluations.jsonl"  # in a run folder: a line each time, for the model card
ANSWERED = "evaluations"  # in a run folder: the answers of the last evaluation of each file


@dataclass(frozen=True)
class Run:
    """What run.json holds."""

    options: Options  # of TrainConfig, the model resolved
    template: dict  # the fields of Template
    marks: MarkTexts
    stop_ids: list[int]
    template_hash: str
    tokenizer_hash: str = ""  # tokenizer.fingerprint; "" in runs from before there was one
    precision: str = ""  # of the base in training: 135M parameters in bf16
    vocab_size: int = 0  # rows that new tokens make of the base's; 0: as many as it has
    data: Account = field(default_factory=dict)  # the ledger, and token statistics
    metrics: Figures = field(default_factory=dict)
    packages: dict[str, str] = field(default_factory=dict)
    plugins: list[dict] = field(default_factory=list)  # dicts: run_plugins.as_record
    threetoe: str = __version__
    finished: str = ""  # UTC, ISO 8601

    def the_template(self) -> Template | TokenizerTemplate:
        return of_fields(self.template)

    def the_marks(self) -> Marks:
        return Marks(**{k: tuple(v) if isinstance(v, list) else v for k, v in self.marks.items()})

    def the_config(self, **changes) -> TrainConfig:
        """The training options; lists of the JSON are tuples again."""
        values = {k: tuple(v) if isinstance(v, list) else v for k, v in self.options.items()}
        known = TrainConfig.__dataclass_fields__
        return TrainConfig(**{k: v for k, v in values.items() if k in known} | changes)


def package_versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def default_folder(config: TrainConfig) -> Path:
    """runs/DATASET-TEMPLATE, with a number behind it when that is taken."""
    names = ["stdin" if name == "-" else name.partition(":")[0] for name in config.datasets]
    dataset = "+".join(Path(os.path.realpath(name)).stem for name in names)
    names = (dataset, Path(config.template.lstrip("# ")).stem)
    base = Path("runs", "-".join(names))
    number = 2
    folder = base
    while (folder / RECORD).exists() and not config.overwrite:
        folder, number = base.with_name(f"{base.name}-{number}"), number + 1
    return folder


def check_folder(folder: Path, overwrite: bool) -> None:
    """UserError unless a run may be written to this folder; nothing is made yet."""
    if (folder / RECORD).exists() and not overwrite:
        raise UserError(
            f"--output-dir {folder} already holds a run; name another folder, or replace it with "
            "--overwrite."
        )
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--output-dir {folder} is a file; name a folder.")
    if folder.is_dir() and any(folder.iterdir()) and not is_ours(folder):
        raise UserError(f"--output-dir {folder} holds other files; name a new or empty folder.")
    if folder.is_dir() and (link := next(filter(Path.is_symlink, folder.iterdir()), None)):
        raise UserError(f"--output-dir {folder}: {link} is a link; remove it, or name a new one.")
    check_writable(folder, "--output-dir")
    if folder.is_dir() and is_first():
        lock(folder).close()


def is_ours(folder: Path) -> bool:
    """Whether a folder holds a run, whole, under way, or stopped as it began."""
    return any((folder / name).exists() for name in (RECORD, PARTIAL, f"{PARTIAL}.tmp"))


def start(folder: Path, options: dict) -> ExitStack:
    """Make the folder, or take over the one of a run that was interrupted or is replaced; the lock
    on it, which of several processes the first has."""
    if not is_first():
        return ExitStack()
    folder.mkdir(parents=True, exist_ok=True)
    held = lock(folder)
    write_json(folder / PARTIAL, {"options": options})
    for name in (RECORD, METRICS, SAMPLES, SCORES, EVALUATIONS, CONFUSION):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / ANSWERED, ignore_errors=True)
    return held


def finish(folder: Path, run: Run) -> None:
    """The one step that makes a run folder whole."""
    write_json(folder / RECORD, vars(run))
    (folder / PARTIAL).unlink()


def load(folder: Path) -> tuple[Path, Run]:
    """A run's folder and record."""
    if (folder / PARTIAL).exists() and not (folder / RECORD).exists():
        raise UserError(f"--run {folder} did not finish; the command that began it continues it.")
    if not (folder / RECORD).exists():
        named = "".join(f" infer.py takes --run {file}." for file in [*folder.glob("*.gguf")][:1])
        raise UserError(f"--run {folder} is not a run folder: it has no {RECORD}.{named}")
    values = read_json(folder / RECORD, Run)
    if strange := values.keys() - Run.__dataclass_fields__:
        raise UserError(f"{folder / RECORD} is of another version: it has '{min(strange)}'.")
    run = Run(**values)
    if run.template_hash != template.hash_of(run.template):
        raise UserError(
            f"{folder / RECORD} is damaged: the template in it has the hash "
            f"{template.hash_of(run.template)}, the one that was trained {run.template_hash}."
        )
    if run.data and (lacking := {"source", "read", "trained"} - run.data.keys()):
        raise UserError(f"{folder / RECORD} is damaged: {min(lacking)} is missing in its data.")
    run.the_template()
    return folder, run


def foreign(template: Template | None, model: str, load_in_4bit: bool) -> Run:
    """The record of a folder that other tools made: nothing is known of its training. Its marks
    and stop ids follow from its tokenizer (contract.settled)."""
    return Run(
        options={"model": model, "load_in_4bit": load_in_4bit},
        template=vars(template) if template else {},
        marks={},
        stop_ids=[],
        template_hash="",
    )


def without_paths(run: Run) -> dict:
    """A run's record as it may be published: data and plugins by name, no rows by place."""
    if not run.data:
        return vars(run)  # trained elsewhere
    places = ("dataset_path", "val_dataset", "template")
    named = {name: Path(run.options[name]).name for name in places if run.options.get(name)}
    named["dataset"] = [Path(name).name for name in run.the_config().datasets]
    options = run.options | named | dict.fromkeys(HERE)
    options["plugin"] = [Path(plugin).name for plugin in options.get("plugin") or ()]
    options["settings"] = []  # may be places, or nobody's business
    plugins = [
        {k: v for k, v in plugin.items() if k not in PRIVATE} | {"name": Path(plugin["name"]).name}
        for plugin in run.plugins
    ]
    return {**vars(run), "options": options, "data": nameless(run.data), "plugins": plugins}


def nameless(account: dict) -> dict:
    """A data account without the places of rows, its sources by name."""
    told = {"source": lambda name: Path(name).name, "validation_source": nameless}
    return {k: told.get(k, lambda v: v)(v) for k, v in account.items() if k not in PLACES}
