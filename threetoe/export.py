"""The export flow: check everything, write each format beside its place, put it there, push."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import click

from threetoe import backend, hub, preview
from threetoe import card as cards
from threetoe import run as runs
from threetoe.config import ExportConfig
from threetoe.errors import Checks, Failure, UserError, unknown
from threetoe.hooks import Hooks, failure
from threetoe.merge import check_merge, merge
from threetoe.nf4 import as_used_in_4bit
from threetoe.plugins import load_plugins
from threetoe.quiet import quieten
from threetoe.shards import read_header

TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja",
    "generation_config.json",
)  # fmt: skip
PREQUANTISED = ("-unsloth-bnb-4bit", "-bnb-4bit")  # suffixes of Unsloth's repositories
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
EXAMPLE = [{"role": "user", "content": "Your question"}, {"role": "assistant", "content": "Answer"}]


class Plan(NamedTuple):
    """An export whose run, outputs and repository have been checked."""

    config: ExportConfig
    hooks: Hooks
    folder: Path
    run: runs.Run
    outputs: dict[str, Path]  # format -> folder to make


def plan(config: ExportConfig) -> Plan:
    """Check all that can be checked before work starts; one UserError with all problems."""
    checks = Checks(config.problems)
    hooks = load_plugins(config, checks)
    found = checks(load_adapter_run, config.run)
    outputs = dict(config.format)
    outputs |= {"adapter": config.adapter} if config.adapter else {}
    outputs |= {"merged": config.merged} if config.merged else {}
    outputs = {name: Path(path) for name, path in outputs.items()}
    for name, path in outputs.items():
        checks(check_target, name, path)
    if not outputs and not config.push:
        checks(nothing_asked)
    checks(check_formats, outputs, hooks)
    if config.push:
        checks(hub.check_push, config.push)
    checks.done()
    return Plan(config, hooks, *found, outputs)


def load_adapter_run(folder: Path | None) -> tuple[Path, runs.Run]:
    folder, run = runs.load(folder)
    if not (folder / "adapter_config.json").exists():
        raise UserError(f"--run {folder} has no adapter in it; a merged model cannot be exported.")
    read_header(folder / "adapter_model.safetensors")
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
    for name, path in job.outputs.items():
        write(job, name, path)
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


def write(job: Plan, name: str, path: Path) -> None:
    """Fill a folder beside `path`, then rename it; a failure leaves nothing that looks whole."""
    partial = path.with_name(path.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    exporter = job.hooks.merge("register_exporters")[name]
    try:
        fill(exporter, name, job.run, partial, replace(job.config, run=job.folder))
        write_card(job, name, partial)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    if path.is_dir():
        path.rmdir()  # empty, or check_target would have refused it
    partial.rename(path)
    job.hooks.tell("after_export", format=name, folder=path)


def fill(exporter, name: str, run: runs.Run, folder: Path, config: ExportConfig) -> None:
    """Call an exporter; an exception in a plugin's names its file and line."""
    try:
        exporter(run, folder, config)
    except (UserError, Failure):
        raise
    except Exception as error:
        if exporter.__module__ == __name__:
            raise
        raise failure(f"The exporter '{name}' raised", exporter, error) from error


def push(job: Plan, path: Path) -> None:
    message = f"Trained with Threetoe {job.run.threetoe}"
    url = hub.push(path, job.config.push, job.config.private, message)
    click.echo(f"pushed and checked: {url}", err=True)


def write_card(job: Plan, name: str, folder: Path) -> None:
    """README.md, unless the exporter wrote its own."""
    path, run = folder / "README.md", job.run
    if not path.exists() and name in (cards.ADAPTER, cards.MERGED):
        template = run.the_template()
        example = preview.show_pieces(template.pieces(EXAMPLE, run.the_marks()), colour=False)
        data = {k: run.data[k] for k in ("source", "read", "trained")}
        facts = {
            "model": run.options["model"],
            "vocab_size": run.vocab_size,
            "template": {"name": template.name, "example": example},
            "options": run.options,
            "data": {**data, "dropped": len(run.data["dropped"])},
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
    base = base_weights(run, config)
    check_merge(base, config.run)
    facts = merge(
        base, config.run, folder, config.dtype, config.max_shard_size * 10**9,
        as_used=as_used_in_4bit if dequantizes(run, config) else lambda name: None,
    )  # fmt: skip
    values = json.loads((base / "config.json").read_text(encoding="utf-8"))
    values.pop("quantization_config", None)
    values.pop("torch_dtype", None)
    values |= {"dtype": facts["dtype"], "eos_token_id": run.stop_ids}
    if facts["vocab_size"]:
        values.get("text_config", values)["vocab_size"] = facts["vocab_size"]
    runs.write_json(folder / "config.json", values)
    runs.write_json(folder / runs.RECORD, runs.without_paths(run))
    copy(config.run, folder, TOKENIZER_FILES)


def dequantizes(run: runs.Run, config: ExportConfig) -> bool:
    """Whether to merge into the weights as NF4 had them: what the adapter was trained on."""
    quantised_on_loading = run.options["load_in_4bit"] and not is_prequantised(run.options["model"])
    if config.base_weights == "dequantized" and not quantised_on_loading:
        raise UserError(
            f"--base-weights dequantized: the base {run.options['model']} was not quantised while "
            "loading; choose 16bit."
        )
    return quantised_on_loading and config.base_weights != "16bit"


def is_prequantised(model: str) -> bool:
    return model.endswith(PREQUANTISED)


def copy(source: Path, target: Path, names) -> None:
    """Copy those of the files that a tokenizer of this kind has."""
    for name in names:
        if (source / name).exists():
            shutil.copyfile(source / name, target / name)


def base_weights(run: runs.Run, config: ExportConfig) -> Path:
    """The folder with the base's 16-bit safetensors, downloaded when it is a Hub id.

    The 4-bit repositories of Unsloth bear the name of their 16-bit original and -bnb-4bit.
    """
    name = config.base or run.options["model"]
    for suffix in PREQUANTISED:
        name = name.removesuffix(suffix)
    path = Path(backend.location(name))
    if path.is_dir():
        return path
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=["*.safetensors*", "config.json"]))
    except Exception as error:  # the client raises many kinds: offline, missing, gated
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"The base weights {name} cannot be read from the Hub: {reason} "
            "Give a local folder: --base DIR."
        ) from error
