"""python -m threetoe plugins: what is loaded, what a command calls, and a new plugin."""

import textwrap

import click

from threetoe.commands.explain import align
from threetoe.commands.explain import explain as explain_command
from threetoe.commands.new_plugin import write_plugin
from threetoe.errors import Checks, UserError
from threetoe.hooks.load import load_plugins
from threetoe.hooks.plugin import Plugin
from threetoe.hooks.settings import declared
from threetoe.options.shared import Common

PLUGIN_HELP = "A plugin: file.py or package.module; may be repeated."


@click.group(invoke_without_command=True, subcommand_metavar="[explain COMMAND | new NAME]")
@click.option("--plugin", multiple=True, help=PLUGIN_HELP)
@click.pass_context
def plugins(context, plugin):
    """List the plugins in the order of their calls.

    With their hooks and settings.
    """
    named = (*context.obj, *plugin)
    word = context.invoked_subcommand
    if word is None:
        show_plugins(named)
    elif word == "explain":
        refuse_plugins(named, word, "it goes behind the script: explain train.py --plugin mine.py")
    else:
        refuse_plugins(named, word, "leave it out")


def refuse_plugins(named: tuple, word: str, instead: str) -> None:
    """UserError when --plugin stands before a word that would pass over it."""
    if named:
        raise UserError(f"--plugin {named[0]} before '{word}' does nothing; {instead}.")


def show_plugins(named: tuple) -> None:
    """List what can be loaded; then UserError with what cannot."""
    checks = Checks()
    hooks = load_plugins(Common(plugin=named), checks)
    click.echo("\n".join(listed(hooks.plugins, checks)))
    checks.done()


def listed(plugins: list[Plugin], checks: Checks) -> list[str]:
    """Of each plugin a line, numbered in the order of calling, and below it hooks and settings."""
    heads = [(f"{n:2}", p.given, p.origin, place_of(p)) for n, p in enumerate(plugins, 1)]
    lines = []
    for head, plugin in zip(align(heads), plugins, strict=True):
        lines += [head, *indented("hooks", ", ".join(plugin.hooks))]
        for setting in checks(declared, plugin) or ():
            text = f"{setting.full_name}: {setting.type} = {setting.default!r}"
            lines += indented("setting", text)
    return lines


def place_of(plugin: Plugin) -> str:
    """The package that brings a plugin, with its version, or else its file."""
    return " ".join(plugin.package) if plugin.package else str(plugin.file)


def indented(title: str, text: str) -> list[str]:
    first = f"      {title:9}"
    return textwrap.wrap(text, 96, initial_indent=first, subsequent_indent=" " * len(first))


@plugins.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    short_help="Print the calls of a command of train.py, infer.py or export.py, in order.",
)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def explain(command):
    """Print which plugins a command calls, in which order and by which rule; it is not run.

    Its checks are: they read the data, load no weights, and find the command's mistakes.

    \b
      python -m threetoe plugins explain train.py --dataset my.json --plugin scrub.py
      python -m threetoe plugins explain python infer.py "Hi" --plugin scrub.py
    """
    explain_command(command)


@plugins.command(short_help="Write the first files of a plugin that can be installed.")
@click.argument("name")
def new(name):
    """Write threetoe-plugin-NAME into this folder: a package with one hook and its test.

    \b
      python -m threetoe plugins new glossary
    """
    files = write_plugin(name)
    for path in files:
        click.echo(path)
    click.echo(f"next: python -m pip install -e {files[0].parent}", err=True)
