"""python -m threetoe: what there is to choose from."""

import click

from threetoe.commands.datasets import datasets
from threetoe.commands.doctor import doctor
from threetoe.commands.make_dataset.command import make_dataset
from threetoe.commands.plugins import PLUGIN_HELP, plugins
from threetoe.commands.runs import report, runs
from threetoe.commands.templates import templates
from threetoe.errors import UserError
from threetoe.options.reporting import run_reporting_errors


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--plugin", multiple=True, help=PLUGIN_HELP)
@click.pass_context
def cli(context, plugin):
    """What Threetoe has to choose from; train.py, infer.py and export.py do the work."""
    context.obj = plugin


cli.add_command(templates)
cli.add_command(plugins)
cli.add_command(datasets)
cli.add_command(make_dataset)
cli.add_command(doctor)
cli.add_command(runs)
cli.add_command(report)


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
