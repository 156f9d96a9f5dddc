"""The prompt contract travels: a run folder is used with its own template, without asking for it.

Another template is refused when its prompts differ, unless it is forced. Folders that other tools
made have no record: they get one from --template and from their tokenizer.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from threetoe.backend.model import load_tokenizer as load_base_tokenizer
from threetoe.backend.model import save_tokenizer
from threetoe.errors import UserError
from threetoe.hooks.calls import Hooks
from threetoe.hooks.of_run import Recorded
from threetoe.machine.files import write_json
from threetoe.machine.terminal import say
from threetoe.prompt.encode import prompt_ids, stop_ids
from threetoe.prompt.from_tokenizer import from_tokenizer
from threetoe.prompt.new_tokens import renamed
from threetoe.prompt.pieces import Marks
from threetoe.prompt.template import Template, hash_of
from threetoe.prompt.template_file import FROM_TOKENIZER, find_template, known_templates
from threetoe.prompt.tokenizer import fingerprint, marks_of
from threetoe.run import record
from threetoe.run.base import find_base, is_prequantised
from threetoe.run.from_hub import find_folder
from threetoe.run.latest import latest
from threetoe.run.record import Run

ASK, ANSWER = {"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Yes."}
CUTTING = [  # what no tokenizer reads as trained without its CUTs
    {"role": "user", "content": "</s><|im_end|><|eot_id|><end_of_turn><|end|><|endoftext|>"},
    {"role": "assistant", "content": "\n\n  Yes."},
    ASK,
]
SYSTEM, NONE = ({"role": "system", "content": text} for text in ("Be brief.", ""))
PROBES = [  # every text of a template stands in one of these
    [ASK],
    [ASK, ANSWER, ASK],
    [{**ASK, "input": "world"}, ANSWER, {**ASK, "input": "world"}],
    [SYSTEM, ASK, ANSWER],
    [SYSTEM, {**ASK, "input": "world"}],
    [NONE, ASK],
]
LINKED = ("adapter_config.json", "config.json", "model.safetensors.index.json", "prompts.jsonl")
SHOWN = 6  # tokens of each side where prompts differ


def asked_template(config, hooks: Hooks) -> Template | None:
    """The template of --template; None when the folder's own, or its tokenizer's, is meant."""
    if config.template and config.template != FROM_TOKENIZER:
        return find_template(config.template, known_templates(hooks, config))
    if config.force_template and not config.template:
        raise UserError("--force-template goes with --template NAME, which is not given.")
    return None


def find_run(config, template: Template | None, base: str | None, flag: str):
    """(folder, Run) of --run, or of the latest run. `base` is used instead of the folder's own;
    `flag` names it.

    The record of a folder without run.json lacks marks and stop ids until `settled`.
    """
    folder = config.run and find_folder(config.run)
    if folder and is_gguf(folder):
        return folder, record.foreign(template, str(folder), False)
    if folder is None or not is_foreign(folder):
        folder, run = record.load(folder or latest())
        return folder, replace(run, options=run.options | {"model": base}) if base else run
    if not config.template:
        raise UserError(no_template(folder))
    model = base or find_base(folder, flag)
    return folder, record.foreign(template, model, is_prequantised(model))


def is_gguf(run: Path) -> bool:
    return run.suffix == ".gguf" and run.is_file()


def is_foreign(folder: Path) -> bool:
    """Whether a folder holds a model, and nothing that train.py or export.py wrote of it."""
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    return not names & {record.RECORD, record.PARTIAL} and bool(
        names & {"adapter_config.json", "config.json"}
    )


def no_template(folder: Path) -> str:
    own = (folder / "chat_template.jinja").exists()
    choice = f", or --template {FROM_TOKENIZER} for its own chat template" if own else ""
    return (
        f"--run {folder} has no {record.RECORD}, as other tools leave it: name the template that "
        f"it was trained with, such as --template alpaca{choice}."
    )


def load_tokenizer(folder: Path, run: Run):
    """The tokenizer of a folder; that of its base when other tools have saved none with it."""
    own = any((folder / f"tokenizer{end}").exists() for end in (".json", "_config.json", ".model"))
    return load_base_tokenizer(folder if own or not is_foreign(folder) else run.options["model"])


def settled(folder: Path, run: Run, template: Template | None, tokenizer, config) -> Run:
    """The record that a folder is used with, once its tokenizer and --template are checked."""
    if not run.marks:
        own = template or from_tokenizer(tokenizer, marks_of(tokenizer), run.options["model"])
        return speaking(run, own, tokenizer)
    check_tokenizer(folder, run, tokenizer)
    if template is None or vars(template) == vars(run.the_template()):
        return run
    trained = run.the_template()
    if run.options.get("new_tokens") == "reserved":
        template = spelt_as(trained, template)
    difference = first_difference(trained, template, marks_of(tokenizer), tokenizer)
    if difference and not config.force_template:
        raise UserError(
            f"--template {config.template}: this run was trained with {trained.name}; {difference} "
            "Leave --template out, or force it with --force-template."
        )
    if difference:
        say(
            f"--force-template: {template.name} is used, but the run was trained with "
            f"{trained.name}; {difference}"
        )
    return speaking(run, template, tokenizer)


def spelt_as(trained: Template, template: Template) -> Template:
    """The template with the reserved tokens that stand for its special tokens in a run."""
    pairs = zip(template.special_tokens, trained.special_tokens, strict=False)
    return renamed(template, {ours: theirs for ours, theirs in pairs if ours != theirs})


def speaking(run: Run, template: Template, tokenizer) -> Run:
    """The record with another template, and what follows from it."""
    marks = marks_of(tokenizer)
    return replace(
        run,
        options={**run.options, "template": template.name},
        template=vars(template),
        template_hash=hash_of(vars(template)),
        marks=marks._asdict(),
        stop_ids=stop_ids(template.end(marks), tokenizer),
        tokenizer_hash=fingerprint(tokenizer),
    )


def check_tokenizer(folder: Path, run: Run, tokenizer) -> None:
    """UserError when a run's tokenizer is not the one that it was trained with any more."""
    then, now = run.the_marks(), marks_of(tokenizer)
    if then.bos != now.bos:
        raise UserError(
            f"{folder}: its tokenizer puts {now.bos or 'no BOS'} in front of a text, and the run "
            f"was trained with {then.bos or 'none'}; put the run's own tokenizer files back."
        )
    stops = stop_ids(run.the_template().end(then), tokenizer)
    if stops != run.stop_ids:
        raise UserError(
            f"{folder}: by its tokenizer answers end with the ids {stops}, and the run was trained "
            f"with {run.stop_ids}; put the run's own tokenizer files back."
        )
    found = fingerprint(tokenizer)
    if run.tokenizer_hash not in ("", found):  # "": trained before there was one
        raise UserError(
            f"{folder}: its tokenizer gives texts other ids than the run was trained with (hash "
            f"{found}, not {run.tokenizer_hash}); put the run's own tokenizer files back."
        )


def rendered(template: Template, marks: Marks, conversations) -> Iterator[tuple[list, list]]:
    """(messages, pieces) of the conversations that a template can render: a base's own chat
    template may know no system text, and then none was trained."""
    for messages in conversations:
        try:
            pieces = template.prompt(messages, marks)
        except UserError:
            continue
        yield messages, pieces


def first_apart(ours, theirs) -> int:
    """Where two sequences first differ; the length of the shorter one that begins the other."""
    pairs = enumerate(zip(ours, theirs, strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(ours), len(theirs)))


def first_difference(trained: Template, asked: Template, marks: Marks, tokenizer) -> str | None:
    """Where the prompts of two templates first differ, in words; None when they never do."""
    for probe, pieces in rendered(trained, marks, PROBES):
        ours = prompt_ids(pieces, tokenizer)
        theirs = prompt_ids(asked.prompt(probe, marks), tokenizer)
        if ours != theirs:
            place = first_apart(ours, theirs)
            ours, theirs = (shown(ids[place : place + SHOWN], tokenizer) for ids in (ours, theirs))
            return (
                f"the prompts differ at token {place}: {ours} was trained, {theirs} was asked for."
            )
    return None


def shown(ids: list[int], tokenizer) -> str:
    return repr(tokenizer.decode(ids)) if ids else "the end"


def write_folder(folder: Path, run: Run, tokenizer, target: Path) -> None:
    """Fill a folder so that it looks as train.py, or export.py, would have left it with this
    record: weights as links, tokenizer, chat template and stop ids as files."""
    for path in folder.iterdir():
        if path.name in LINKED or path.suffix == ".safetensors":
            (target / path.name).symlink_to(path.resolve())
    tokenizer.chat_template = run.the_template().jinja(run.the_marks(), tokenizer)
    save_tokenizer(tokenizer, target, run.stop_ids)
    write_json(target / record.RECORD, vars(run))


def recorded(config) -> Recorded | None:
    """The plugins of the run that is asked; None with --no-run-plugins, or without a record."""
    if not config.run_plugins:
        return None
    try:
        folder, run = record.load(config.run or latest())
    except UserError:
        return None  # contract.find_run says what is wrong, or that other tools made the folder
    return Recorded(folder, run.plugins)
