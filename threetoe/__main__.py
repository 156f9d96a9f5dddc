"""python -m threetoe: what there is to choose from."""

import click

from threetoe import catalog, preview
from threetoe.config import Common
from threetoe.from_tokenizer import NAME as FROM_TOKENIZER
from threetoe.options import run_reporting_errors
from threetoe.plugins import load_plugins
from threetoe.template import Marks
from threetoe.template_file import find_template, read_template

SYSTEM = {"role": "system", "content": "You are a helpful assistant."}
SAMPLE = [
    {"role": "user", "content": "Classify the sentiment of the text.", "input": "What a day!"},
    {"role": "assistant", "content": "Positive"},
]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--plugin", multiple=True, help="A plugin: file.py or package.module.")
@click.pass_context
def cli(context, plugin):
    """What Threetoe has to choose from; train.py, infer.py and export.py do the work."""
    context.obj = load_plugins(Common(plugin=plugin))


@cli.command()
@click.argument("name", required=False)
@click.pass_obj
def templates(hooks, name):
    """List the prompt templates, or show one with its learned part marked."""
    known = hooks.merge("register_templates")
    if name is None:
        described = {name: read_template(path).description for name, path in known.items()}
        return show_list({**described, FROM_TOKENIZER: "the chat template of the base itself"})
    template = find_template(name, known)
    sample = SAMPLE if template.system else [SYSTEM, *SAMPLE]
    pieces = template.pieces(sample, Marks("<bos>", "<eos>", tuple(filter(None, [template.eos]))))
    click.echo(preview.show_pieces(pieces, preview.in_colour()).rstrip())


@cli.command()
@click.pass_obj
def datasets(hooks):
    """List the named datasets."""
    known = hooks.merge("register_datasets")
    show_list({name: catalog.read_yaml(path).get("description") for name, path in known.items()})


def show_list(rows: dict[str, str]) -> None:
    width = max(map(len, rows))
    for name, description in sorted(rows.items()):
        click.echo(f"{click.style(name.ljust(width), bold=True)}  {description or ''}")


def main():
    run_reporting_errors(lambda _: cli(), None)


if __name__ == "__main__":
    main()
