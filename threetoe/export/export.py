"""The export flow: check everything, write each format beside its place, prove it, put it there,
push."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from threetoe.backend.adapter import check_adapter, is_adapter
from threetoe.errors import Checks, Failure, UserError
from threetoe.export.card.card import render_card
from threetoe.export.card.facts import check_records, facts_of
from threetoe.export.folder import (
    asked_for,
    check_apart,
    check_formats,
    check_options,
    check_target,
    fail,
    filled_beside,
    outputs_of,
    put,
)
from threetoe.export.formats import FORMATS, format_of
from threetoe.export.gguf.gguf import check_gguf
from threetoe.export.preflight import preflight
from threetoe.export.push import check_repo, push_folder
from threetoe.export.verify import verify
from threetoe.hooks.calls import Hooks
from threetoe.hooks.load import load_plugins
from threetoe.machine import processes
from threetoe.machine.files import write_json
from threetoe.machine.libraries import quieten
from threetoe.machine.terminal import say, show_progress
from threetoe.options.export import ExportConfig
from threetoe.prompt.template import Template
from threetoe.run import base, contract
from threetoe.run.latest import describe
from threetoe.run.record import Run


class ExportJob(NamedTuple):
    """An export whose run, outputs and repository have been checked."""

    config: ExportConfig
    hooks: Hooks
    folder: Path
    run: Run
    template: Template | None  # of --template
    outputs: dict[str, Path]  # format -> folder to make
    is_trained: bool = True


def plan_export(config: ExportConfig, untrained: Run | None = None) -> ExportJob:
    """Check all that can be checked before work starts; one UserError with all problems. Of a run
    that is still to be trained into config.run, `untrained` says what is known."""
    checks = Checks(config.problems)
    checks(processes.check_alone)
    checks(check_options, config)
    hooks = load_plugins(config, checks, contract.recorded(config))
    template = checks(contract.asked_template, config, hooks)
    checks(base.check_model, config.base, "--base")
    found = (config.run, untrained) if untrained else checks(find_adapter, config, template)
    folder, run = found or (Path("run"), None)
    outputs = outputs_of(config, folder)
    for name, path in outputs.items():
        checks(check_target, name, path)
    if not (outputs or config.push or config.problems):
        flags = [f"--{row.option.replace('_', '-')}" for row in FORMATS.values()]
        checks.problems.append(f"Nothing to do: name {', '.join(flags)}, --format or --push.")
    checks(check_formats, outputs, hooks, config)
    job = ExportJob(config, hooks, folder, run, template, outputs, not untrained)
    if found:
        check_found(job, checks)
    elif config.push:
        checks(check_repo, config)
    checks.done()
    hooks.say_notes()
    if not config.run:
        say(f"exporting {describe(folder, run)}")
    return job


def find_adapter(config: ExportConfig, template: Template | None):
    """(folder, Run) of --run, which has a whole adapter in it."""
    foreign = config.run and contract.is_foreign(config.run)
    named = config.base if foreign else None  # a run's own base stays what it was trained on
    folder, run = contract.find_run(config, template, named, "--base")
    if not is_adapter(folder):
        raise UserError(f"--run {folder} has no adapter in it; a merged model cannot be exported.")
    check_adapter(folder)
    if run.data:  # ours: it is called as its folder is called now
        run = replace(run, options=run.options | {"output_dir": str(folder.resolve())})
    return folder, run


def check_found(job: ExportJob, checks: Checks) -> None:
    """What can be checked of a run that is there."""
    config, model = job.config, job.run.options["model"]
    ours = job.outputs.keys() & FORMATS.keys()
    if not config.base and (ours or config.push):  # an adapter, too, says where its base is
        checks(base.check_is_there, model, job.folder, "--base")
    checks(check_apart, job.outputs, job.folder, config.base or model)
    checks(check_records, job.folder)
    if config.gguf or config.ollama:
        checks(check_gguf, job.run, job.folder, config)
    if config.base or not base.is_gone(model):
        checks(preflight, job)


def export(config: ExportConfig) -> dict[str, Path]:
    """Write what was asked for, then push; each folder appears whole and proven, or not at all.
    The folders by their formats."""
    job = plan_export(config)
    with TemporaryDirectory() as scratch:
        job = settle_run(job, Path(scratch))
        for name, path in job.outputs.items():
            say_what_was_found(f"{name} written to {path}", write_format(job, name, path))
        try:
            if config.push:
                publish(job)
        except Failure as error:
            error.problems += job.hooks.late  # what after_export raised, too
            raise
    job.hooks.end()
    return job.outputs


def settle_run(job: ExportJob, scratch: Path) -> ExportJob:
    """The job with the record and folder to export; where --template changes them, the folder is a
    new one that looks like a run's."""
    show_progress(f"loading the tokenizer of {job.folder}")
    quieten()
    tokenizer = contract.load_tokenizer(job.folder, job.run)
    run = contract.settled(job.folder, job.run, job.template, tokenizer, job.config)
    run.the_template().prompt([contract.ASK], run.the_marks())  # no endless one
    if run is job.run:
        return job
    contract.write_folder(job.folder, run, tokenizer, scratch)
    return job._replace(run=run, folder=scratch)


def say_what_was_found(what: str, found: dict) -> None:
    say(f"{what}{verify.said(found)}")


def write_format(job: ExportJob, name: str, path: Path) -> dict:
    """Fill a folder beside `path`, prove it, then rename it; what the proof found.

    A failure leaves nothing that looks whole: of a merge the shards that are, for the next try;
    what the proof finds wrong as `path`.failed, with a Failure.
    """
    with filled_beside(name, path) as partial:
        found = fill(job, name, partial)
        if found.get("passed") is False and not job.config.force:
            fail(partial, path, name, found)
        put(partial, path, asked_for(name, path))
    job.hooks.tell("after_export", format=name, folder=path, config=job.config)
    return found


def fill(job: ExportJob, name: str, partial: Path) -> dict:
    """What the proof found in a folder that the exporter and a card have filled."""
    exporter, plugin = job.hooks.owned("register_exporters", config=job.config)[name]
    given = job.run, partial, replace(job.config, run=job.folder)
    plugin.call(f"the exporter '{name}'", exporter, *given)
    found = {}
    if name in FORMATS:
        checked = job.config.verify
        found = verify.verify(partial, name, *given[::2]) if checked else verify.not_verified(name)
        write_json(partial / verify.FILE, found)
    write_card(job, name, partial)
    return found


def write_card(job: ExportJob, name: str, folder: Path) -> None:
    """README.md, unless the exporter wrote its own."""
    path, repo_id, words = folder / "README.md", job.config.push, format_of(name).card
    if words and not path.exists():
        facts = facts_of(job.run, job.config.run or job.folder, folder, ask_hub=bool(repo_id))
        path.write_text(render_card(facts, words, repo_id), encoding="utf-8")
    if path.exists():
        text = path.read_text("utf-8")
        text, _ = job.hooks.chain("map_card", "card", text, folder=folder, config=job.config)
        path.write_text(text, encoding="utf-8")


def publish(job: ExportJob) -> None:
    """Push the first of what was written that is pushed, else the adapter."""
    names = [name for name in FORMATS if format_of(name).pushed and name in job.outputs]
    with TemporaryDirectory() as scratch:
        folder = job.outputs.get([*names, "adapter"][0])
        if not folder:
            folder = Path(scratch, "adapter")
            say_what_was_found(
                f"adapter for {job.config.push}", write_format(job, "adapter", folder)
            )
        config, run = job.config, job.run
        message = f"{'Trained' if run.data else 'Exported'} with Threetoe {run.threetoe}"
        where = config.revision, config.create_pr
        url = push_folder(folder, config.push, config.private, message, *where)
    say(f"pushed and checked: {url}")
