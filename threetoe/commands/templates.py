"""python -m threetoe templates: lists them, shows one filled in, ranks them on a base."""

from pathlib import Path

import click

from threetoe.backend.model import load_tokenizer
from threetoe.commands.plugins import refuse_plugins
from threetoe.errors import UserError
from threetoe.hooks.load import load_plugins
from threetoe.machine.terminal import in_colour
from threetoe.options.command import command
from threetoe.options.shared import Common
from threetoe.options.train import RANKED, RankConfig
from threetoe.prompt.from_tokenizer import from_tokenizer
from threetoe.prompt.pieces import Marks, show_pieces
from threetoe.prompt.template import Template
from threetoe.prompt.template_file import (
    FROM_TOKENIZER,
    find_template,
    known_templates,
    read_template,
)
from threetoe.prompt.tokenizer import marks_of
from threetoe.run.base import check_model

SYSTEM = {"role": "system", "content": "You are a helpful assistant."}
SAMPLE = [
    {"role": "user", "content": "Classify the sentiment of the text.", "input": "What a day!"},
    {"role": "assistant", "content": "Positive"},
]


class Templates(click.Group):
    """A group in which every word that is no command is a template's name."""

    def get_command(self, context, name):
        return super().get_command(context, name) or click.Command(
            name,
            params=[
                click.Option(["--model"], help="Take the special tokens of this model or run."),
                click.Option(["--modelfile"], is_flag=True, help="Print a Modelfile for Ollama."),
                click.Option(["--jinja"], is_flag=True, help="Print the Jinja for a GGUF file."),
            ],
            callback=lambda **options: show_template(context, name, **options),
        )


@click.group(cls=Templates, invoke_without_command=True, subcommand_metavar="[NAME | rank ...]")
@click.pass_context
def templates(context):
    """List the prompt templates, show NAME, or rank them.

    What is learned of a template is marked; their rank is on a base and your data.
    """
    if context.invoked_subcommand is None:
        known = templates_of(context.obj)
        described = {name: read_template(path).description for name, path in known.items()}
        show_list({**described, FROM_TOKENIZER: "the chat template of the base itself"})
    elif context.invoked_subcommand == "rank":
        refuse_plugins(context.obj, "rank", "it goes behind: templates rank --plugin mine.py")


def templates_of(plugins: tuple) -> dict[str, Path]:
    """The files of all named templates, those of plugins too."""
    config = Common(plugin=plugins)
    return known_templates(load_plugins(config), config)


def show_list(rows: dict[str, str]) -> None:
    width = max(map(len, rows))
    for name, description in sorted(rows.items()):
        click.echo(f"{click.style(name.ljust(width), bold=True)}  {description or ''}")


def show_template(context, name: str, model: str | None, modelfile: bool, jinja: bool) -> None:
    """Print a template filled in, or as a Modelfile, or as the Jinja without CUTs."""
    if not Path(model or ".").expanduser().is_dir():  # a run's folder has a tokenizer too
        check_model(model)
    tokenizer = load_tokenizer(model) if model else None
    marks = marks_of(tokenizer) if model else None
    template = named(context, name, tokenizer, marks, model)
    if modelfile:
        return click.echo(template.modelfile(marks or own_marks(template)), nl=False)
    if jinja:
        return click.echo(template.gguf_jinja(marks or own_marks(template)), nl=False)
    marks = marks or Marks("<bos>", "<eos>", tuple(filter(None, [template.eos])))
    sample = SAMPLE if template.brings_system else [SYSTEM, *SAMPLE]
    click.echo(show_pieces(template.pieces(sample, marks), in_colour()).rstrip())


def named(context, name: str, tokenizer, marks: Marks | None, model: str | None):
    if name != FROM_TOKENIZER:
        return find_template(name, templates_of(context.obj))
    if tokenizer is None:
        raise UserError(f"{name} is the chat template of a base; name one: --model MODEL.")
    return from_tokenizer(tokenizer, marks, model)


def own_marks(template: Template) -> Marks:
    """The special tokens that a template brings itself; UserError where it takes a tokenizer's."""
    if not template.eos or any("{bos}" in text for text in template.roles.values()):
        raise UserError(
            f"The template {template.name} has tokens of the model's tokenizer in it; name the "
            "model or run: --model MODEL."
        )
    return Marks("", template.eos, (template.eos, *template.special_tokens))


@command(RankConfig, only=RANKED)
def rank(config):
    """Score the dataset's answers under every template, untrained.

    The base's loss is that of the answers' tokens, without their ends; lower is better.

    \b
      python -m threetoe templates rank --model unsloth/llama-3-8b-bnb-4bit --dataset my.json
    """
    from threetoe.commands.rank import rank

    rank(config)


templates.add_command(rank, "rank")
