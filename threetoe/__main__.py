"""python -m threetoe: what there is to choose from."""

import click

from threetoe import backend, catalog, ollama, preview
from threetoe.config import RANKED, Common, RankConfig
from threetoe.encode import marks_of
from threetoe.errors import UserError
from threetoe.from_tokenizer import NAME as FROM_TOKENIZER
from threetoe.options import command, run_reporting_errors
from threetoe.plugin_commands import PLUGIN_HELP, plugins, refuse_plugins
from threetoe.plugins import load_plugins
from threetoe.template import Marks, Template
from threetoe.template_file import find_template, read_template

SYSTEM = {"role": "system", "content": "You are a helpful assistant."}
SAMPLE = [
    {"role": "user", "content": "Classify the sentiment of the text.", "input": "What a day!"},
    {"role": "assistant", "content": "Positive"},
]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--plugin", multiple=True, help=PLUGIN_HELP)
@click.pass_context
def cli(context, plugin):
    """What Threetoe has to choose from; train.py, infer.py and export.py do the work."""
    context.obj = plugin


def hooks_of(context):
    return load_plugins(Common(plugin=context.obj))


class Templates(click.Group):
    """A group in which every word that is no command is a template's name."""

    def get_command(self, context, name):
        return super().get_command(context, name) or click.Command(
            name,
            params=[
                click.Option(["--model"], help="Take the special tokens of this model or run."),
                click.Option(["--modelfile"], is_flag=True, help="Print a Modelfile for Ollama."),
            ],
            callback=lambda **options: show_template(hooks_of(context), name, **options),
        )


@cli.group(cls=Templates, invoke_without_command=True, subcommand_metavar="[NAME | rank ...]")
@click.pass_context
def templates(context):
    """List the prompt templates, show NAME with its learned part marked, or rank them all."""
    if context.invoked_subcommand is None:
        known = hooks_of(context).merge("register_templates")
        described = {name: read_template(path).description for name, path in known.items()}
        show_list({**described, FROM_TOKENIZER: "the chat template of the base itself"})
    elif context.invoked_subcommand == "rank":
        refuse_plugins(context.obj, "rank", "it goes behind: templates rank --plugin mine.py")


def show_template(hooks, name: str, model: str | None, modelfile: bool) -> None:
    template = find_template(name, hooks.merge("register_templates"))
    marks = marks_of(backend.load_tokenizer(model)) if model else None
    if modelfile:
        return click.echo(ollama.modelfile(template, marks or own_marks(template)), nl=False)
    marks = marks or Marks("<bos>", "<eos>", tuple(filter(None, [template.eos])))
    sample = SAMPLE if template.system else [SYSTEM, *SAMPLE]
    pieces = template.pieces(sample, marks)
    click.echo(preview.show_pieces(pieces, preview.in_colour()).rstrip())


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
    """Score the dataset's answers under every template on the base, before any training.

    The loss is that of the answers' tokens, without their ends; lower is better.

    \b
      python -m threetoe templates rank --model unsloth/llama-3-8b-bnb-4bit --dataset my.json
    """
    from threetoe.rank import rank

    rank(config)


templates.add_command(rank, "rank")
cli.add_command(plugins)


@cli.command()
@click.pass_context
def datasets(context):
    """List the named datasets."""
    known = hooks_of(context).merge("register_datasets")
    show_list({name: catalog.read_yaml(path).get("description") for name, path in known.items()})


def show_list(rows: dict[str, str]) -> None:
    width = max(map(len, rows))
    for name, description in sorted(rows.items()):
        click.echo(f"{click.style(name.ljust(width), bold=True)}  {description or ''}")


def main():
    run_reporting_errors(lambda _: cli(), None)


if __name__ == "__main__":
    main()
