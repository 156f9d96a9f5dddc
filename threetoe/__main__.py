"""python -m threetoe: what there is to choose from."""

import click

from threetoe import catalog
from threetoe.config import Common
from threetoe.errors import UserError
from threetoe.make_dataset import make_dataset
from threetoe.options import run_reporting_errors
from threetoe.plugin_commands import PLUGIN_HELP, plugins
from threetoe.plugins import load_plugins
from threetoe.template_commands import show_list, templates


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--plugin", multiple=True, help=PLUGIN_HELP)
@click.pass_context
def cli(context, plugin):
    """What Threetoe has to choose from; train.py, infer.py and export.py do the work."""
    context.obj = plugin


def hooks_of(context):
    return load_plugins(Common(plugin=context.obj))


cli.add_command(templates)
cli.add_command(plugins)
cli.add_command(make_dataset)


@cli.command()
@click.pass_context
def datasets(context):
    """List the named datasets."""
    known = hooks_of(context).merge("register_datasets")
    show_list({name: catalog.read_yaml(path).get("description") for name, path in known.items()})


def run(_) -> None:
    """The command line, its mistakes reported in a line each, as the scripts do."""
    try:
        raise SystemExit(cli(standalone_mode=False))  # a command's exit code, or None
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help())
    except click.UsageError as error:
        raise UserError(error.format_message()) from error
    except click.Abort:
        raise KeyboardInterrupt from None


def main():
    run_reporting_errors(run, None)


if __name__ == "__main__":
    main()
