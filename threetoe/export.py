"""The export flow: check everything, write each format beside its place, put it there, push."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import click

from threetoe import backend, contract, hub, ollama, preview
from threetoe import base as bases
from threetoe import card as cards
from threetoe import run as runs
from threetoe.config import ExportConfig
from threetoe.errors import Checks, UserError, unknown
from threetoe.hooks import PASSED_OVER, Hooks
from threetoe.merge import check_merge, merge, stays
from threetoe.merge_plan import PLAN
from threetoe.merged_config import merged_config
from threetoe.nf4 import as_used_in_4bit
from threetoe.plugins import load_plugins
from threetoe.quiet import quieten
from threetoe.run_plugins import recorded
from threetoe.shards import read_header
from threetoe.template import Template

TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja",
    "generation_config.json",
)  # fmt: skip
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
EXAMPLE = [{"role": "user", "content": "Your question"}, {"role": "assistant", "content": "Answer"}]


class Plan(NamedTuple):
    """An export whose run, outputs and repository have been checked."""

    config: ExportConfig
    hooks: Hooks
    folder: Path
    run: runs.Run
    template: Template | None  # of --template
    outputs: dict[str, Path]  # format -> folder to make


def plan(config: ExportConfig) -> Plan:
    """Check all that can be checked before work starts; one UserError with all problems."""
    checks = Checks(config.problems)
    hooks = load_plugins(config, checks, recorded(config))
    template = checks(contract.asked_template, config, hooks)
    checks(bases.check_model, config.base, "--base")
    found = checks(find_adapter, config, template)
    outputs = dict(config.format)
    outputs |= {"adapter": config.adapter} if config.adapter else {}
    outputs |= {"merged": config.merged} if config.merged else {}
    outputs |= {"merged-4bit": config.merged_4bit} if config.merged_4bit else {}
    outputs = {name: Path(path) for name, path in outputs.items()}
    for name, path in outputs.items():
        checks(check_target, name, path)
    if not outputs and not config.push:
        checks(nothing_asked)
    checks(check_formats, outputs, hooks)
    if config.push:
        checks(hub.check_push, config.push)
    checks.done()
    hooks.say_notes()
    return Plan(config, hooks, *found, template, outputs)


def find_adapter(config: ExportConfig, template: Template | None):
    """(folder, Run) of --run, which has a whole adapter in it."""
    foreign = config.run and contract.is_foreign(config.run)
    base = config.base if foreign else None  # a run's own base stays what it was trained on
    folder, run = contract.find_run(config, template, base, "--base")
    if not bases.is_adapter(folder):
        raise UserError(f"--run {folder} has no adapter in it; a merged model cannot be exported.")
    read_header(folder / "adapter_model.safetensors")
    if config.merged and not config.base:
        bases.check_is_there(run.options["model"], folder, "--base")
    return folder, run


def nothing_asked():
    raise UserError("Nothing to do: name --adapter DIR, --merged DIR or --push user/model.")


def check_formats(outputs: dict, hooks: Hooks) -> None:
    known = hooks.merge("register_exporters")
    for name in outputs:
        if name not in known:
            raise unknown("export format", name, known)


def check_target(name: str, path: Path) -> None:
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UserError(f"--{name} {path} exists already; name a new folder.")
    runs.check_writable(path, f"--{name}")


def export(config: ExportConfig) -> None:
    """Write what was asked for, then push; each folder appears whole or not at all."""
    job = plan(config)
    with TemporaryDirectory() as scratch:
        write_all(settled(job, Path(scratch)))
    job.hooks.say_seconds()


def settled(job: Plan, scratch: Path) -> Plan:
    """The plan with the record and folder to export; where --template changes them, the folder is
    a new one that looks like a run's."""
    quieten()
    tokenizer = contract.load_tokenizer(job.folder, job.run)
    run = contract.settled(job.folder, job.run, job.template, tokenizer, job.config)
    if run is job.run:
        return job
    contract.write_folder(job.folder, run, tokenizer, scratch)
    return job._replace(run=run, folder=scratch)


def write_all(job: Plan) -> None:
    config = job.config
    for name, path in job.outputs.items():
        if write(job, name, path):
            click.echo(f"{name} written to {path}", err=True)
    if not config.push:
        return
    if config.merged:
        push(job, config.merged)
    elif config.adapter:
        push(job, config.adapter)
    else:
        with TemporaryDirectory() as scratch:
            write(job, "adapter", Path(scratch, "adapter"))
            push(job, Path(scratch, "adapter"))


def write(job: Plan, name: str, path: Path) -> bool:
    """Fill a folder beside `path`, then rename it; a failure leaves nothing that looks whole.

    False when a plugin's exporter raised and --plugin-errors says to go on.
    """
    partial = path.with_name(path.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    exporter, plugin = job.hooks.owned("register_exporters")[name]
    given = job.run, partial, replace(job.config, run=job.folder)
    try:
        done = job.hooks.guarded_call(plugin, f"the exporter '{name}'", exporter, *given)
        if done is PASSED_OVER:
            shutil.rmtree(partial)
            return False
        write_card(job, name, partial)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    if path.is_dir():
        path.rmdir()  # empty, or check_target would have refused it
    (partial / PLAN).unlink(missing_ok=True)
    partial.rename(path)
    job.hooks.tell("after_export", format=name, folder=path)
    return True


def push(job: Plan, path: Path) -> None:
    message = f"{'Trained' if job.run.data else 'Exported'} with Threetoe {job.run.threetoe}"
    url = hub.push(path, job.config.push, job.config.private, message)
    click.echo(f"pushed and checked: {url}", err=True)


def write_card(job: Plan, name: str, folder: Path) -> None:
    """README.md, unless the exporter wrote its own."""
    path, run = folder / "README.md", job.run
    if not path.exists() and name in (cards.ADAPTER, cards.MERGED):
        template = run.the_template()
        example = preview.show_pieces(template.pieces(EXAMPLE, run.the_marks()), colour=False)
        data = {k: run.data[k] for k in ("source", "read", "trained") if run.data}
        if run.data:
            data["dropped"] = len(run.data["dropped"])
        facts = {
            "model": run.options["model"],
            "vocab_size": run.vocab_size,
            "template": {"name": template.name, "example": example},
            "options": run.options,
            "data": data,
            "metrics": run.metrics,
            "packages": run.packages,
        }
        path.write_text(cards.card(facts, name, repo_id=job.config.push), encoding="utf-8")
    if path.exists():
        text, _ = job.hooks.chain("map_card", "card", path.read_text("utf-8"), folder=folder)
        path.write_text(text, encoding="utf-8")


def write_adapter(run: runs.Run, folder: Path, config: ExportConfig) -> None:
    """The exporter `adapter`: PEFT's two files, the tokenizer's, and the run's record."""
    runs.write_json(folder / runs.RECORD, runs.without_paths(run))
    copy(config.run, folder, ADAPTER_FILES + TOKENIZER_FILES)
    path = folder / "adapter_config.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    values["base_model_name_or_path"] = backend.location(run.options["model"])
    runs.write_json(path, values)


def write_merged(run: runs.Run, folder: Path, config: ExportConfig) -> None:
    """The exporter `merged`: base + adapter in 16 bits, for plain transformers."""
    quieten()
    base = bases.base_weights(run, config)
    check_merge(base, config.run)
    facts = merge(
        base, config.run, folder, config.dtype, config.max_shard_size * 10**9,
        as_used=as_used_in_4bit if bases.dequantizes(run, config) else stays,
    )  # fmt: skip
    values = merged_config(base, facts, run.stop_ids)
    runs.write_json(folder / "config.json", values)
    runs.write_json(folder / runs.RECORD, runs.without_paths(run))
    copy(config.run, folder, TOKENIZER_FILES)
    write_modelfile(run, folder)


def write_modelfile(run: runs.Run, folder: Path) -> None:
    """Modelfile, with which Ollama imports the folder; not for a base's own Jinja, which has no
    such form."""
    template = run.the_template()
    if not isinstance(template, Template):
        return click.echo(f"no Modelfile for Ollama: {template.name} is Jinja alone", err=True)
    text = ollama.modelfile(template, run.the_marks())
    (folder / "Modelfile").write_text(text, encoding="utf-8", newline="\n")


def copy(source: Path, target: Path, names) -> None:
    """Copy those of the files that a tokenizer of this kind has."""
    for name in names:
        if (source / name).exists():
            shutil.copyfile(source / name, target / name)
