"""The export flow: check everything, write each format beside its place, prove it, put it there,
push."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import click

from threetoe.backend.checkpoint import read_header
from threetoe.errors import Checks, UserError
from threetoe.export import push as hub
from threetoe.export.card.card import card
from threetoe.export.card.facts import facts_of
from threetoe.export.card.metadata import KINDS
from threetoe.export.folder import (
    FAILED,
    PARTIAL,
    beside,
    check_apart,
    check_formats,
    check_options,
    check_target,
    fail,
    flag_of,
    leave,
    outputs_of,
    put,
    taken,
)
from threetoe.export.gguf.gguf import check_gguf
from threetoe.export.preflight import preflight
from threetoe.export.verify import verify
from threetoe.hooks.calls import Hooks
from threetoe.hooks.load import load_plugins
from threetoe.machine.files import write_json
from threetoe.machine.hub import check_push
from threetoe.machine.libraries import quieten
from threetoe.machine.terminal import clear_line
from threetoe.options.export import ExportConfig
from threetoe.prompt.template import Template
from threetoe.run import base as bases
from threetoe.run import contract
from threetoe.run import record as runs
from threetoe.run.contract import recorded

RESUMED = ("merged", "merged-4bit")  # their whole shards are kept for the next try
PUSHED = ("merged", "merged-4bit", "gguf")  # the first of these that is asked for, else the adapter
NEED_BASE = ("adapter", "merged", "merged_4bit", "gguf", "ollama", "push")  # even by its name alone


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
    checks(check_options, config)
    hooks = load_plugins(config, checks, recorded(config))
    template = checks(contract.asked_template, config, hooks)
    checks(bases.check_model, config.base, "--base")
    found = checks(find_adapter, config, template)
    folder, run = found or (Path("run"), None)
    outputs = outputs_of(config, folder)
    for name, path in outputs.items():
        checks(check_target, name, path)
    if not outputs and not config.push:
        checks(nothing_asked)
    checks(check_formats, outputs, hooks, config)
    if config.push and not found:
        checks(check_push, config.push, config.create_pr, config.revision)
    if found:
        checks(check_apart, outputs, folder, config.base or run.options["model"])
    if found and (config.gguf or config.ollama):
        checks(check_gguf, run, folder, config)
    job = Plan(config, hooks, folder, run, template, outputs)
    if found:
        checks(preflight, job)
    checks.done()
    hooks.say_notes()
    return job


def find_adapter(config: ExportConfig, template: Template | None):
    """(folder, Run) of --run, which has a whole adapter in it."""
    foreign = config.run and contract.is_foreign(config.run)
    base = config.base if foreign else None  # a run's own base stays what it was trained on
    folder, run = contract.find_run(config, template, base, "--base")
    if not bases.is_adapter(folder):
        raise UserError(f"--run {folder} has no adapter in it; a merged model cannot be exported.")
    read_header(folder / "adapter_model.safetensors")
    if not config.base and any(getattr(config, name) for name in NEED_BASE):
        bases.check_is_there(run.options["model"], folder, "--base")
    return folder, run


def nothing_asked():
    raise UserError("Nothing to do: name --adapter DIR, --merged DIR or --push user/model.")


def export(config: ExportConfig) -> None:
    """Write what was asked for, then push; each folder appears whole and proven, or not at all."""
    job = plan(config)
    with TemporaryDirectory() as scratch:
        write_all(settled(job, Path(scratch)))
    job.hooks.end()


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
        write(job, name, path)
    if not config.push:
        return
    pushed = next((job.outputs[name] for name in (*PUSHED, "adapter") if name in job.outputs), None)
    if pushed:
        return push(job, pushed)
    with TemporaryDirectory() as scratch:
        write(job, "adapter", Path(scratch, "adapter"))
        push(job, Path(scratch, "adapter"))


def write(job: Plan, name: str, path: Path) -> None:
    """Fill a folder beside `path`, prove it, then rename it.

    A failure leaves nothing that looks whole: of a merge the shards that are, for the next try;
    what the proof finds wrong as `path`.failed, with a Failure.
    """
    partial = beside(path, PARTIAL)
    with taken(partial, f"{flag_of(name)} {path}"):
        try:
            found = fill(job, name, partial)
        except BaseException:
            clear_line()
            leave(partial, keep=name in RESUMED)
            raise
        if found.get("passed") is False and not job.config.force:
            fail(partial, beside(path, FAILED), name, found)
        put(partial, path)
    click.echo(f"{name} written to {path}{verify.said(found)}", err=True)
    job.hooks.tell("after_export", format=name, folder=path, config=job.config)


def fill(job: Plan, name: str, partial: Path) -> dict:
    """What the proof found in a folder that the exporter and a card have filled."""
    exporter, plugin = job.hooks.owned("register_exporters", config=job.config)[name]
    given = job.run, partial, replace(job.config, run=job.folder)
    plugin.call(f"the exporter '{name}'", exporter, *given)
    found = {}
    if name in verify.KINDS:
        checked = job.config.verify
        found = verify.verify(partial, name, *given[::2]) if checked else verify.not_verified(name)
        write_json(partial / verify.FILE, found)
    write_card(job, name, partial)
    return found


def push(job: Plan, path: Path) -> None:
    config = job.config
    message = f"{'Trained' if job.run.data else 'Exported'} with Threetoe {job.run.threetoe}"
    where = config.revision, config.create_pr
    url = hub.push(path, config.push, config.private, message, *where)
    click.echo(f"pushed and checked: {url}", err=True)


def write_card(job: Plan, name: str, folder: Path) -> None:
    """README.md, unless the exporter wrote its own."""
    path, repo_id = folder / "README.md", job.config.push
    if not path.exists() and name in KINDS:
        facts = facts_of(job.run, job.config.run or job.folder, folder, ask_hub=bool(repo_id))
        path.write_text(card(facts, name, repo_id), encoding="utf-8")
    if path.exists():
        text = path.read_text("utf-8")
        text, _ = job.hooks.chain("map_card", "card", text, folder=folder, config=job.config)
        path.write_text(text, encoding="utf-8")
