"""python -m threetoe datasets: lists them, and shows one with a row as a template renders it."""

import shlex
import textwrap

import click

from threetoe.commands.templates import show_list
from threetoe.data.columns import Recogniser
from threetoe.data.recipes.options import choices_of
from threetoe.data.recipes.recipe import Recipe, find_recipe, read_recipe
from threetoe.data.sources.source import Source, read_source
from threetoe.errors import Checks, UserError, unknown
from threetoe.hooks.load import load_plugins
from threetoe.machine.terminal import in_colour, visible
from threetoe.messages import Unusable
from threetoe.options.shared import Common
from threetoe.options.types import Pair
from threetoe.prompt.pieces import Marks, show_pieces
from threetoe.prompt.template_file import find_template, known_templates

TEMPLATE = "alpaca"


@click.command()
@click.argument("name", required=False)
@click.option(
    "--dataset-option", type=Pair(), multiple=True,
    help="An option of the dataset, such as lang=zh; may be repeated.",
)  # fmt: skip
@click.option("--dataset-path", help="A local copy, whose first row is shown.")
@click.option(
    "--template", help="The template to render the row with.", show_default=TEMPLATE, default=None
)
@click.pass_obj
def datasets(plugins, name, **options):
    """List the named datasets, or show NAME.

    Its source, its options, and a row as it is trained.
    """
    if name:
        return show_dataset(plugins, name, **options)
    for option in filter(options.get, options):
        raise UserError(f"--{option.replace('_', '-')} goes with the NAME of a dataset.")
    config = Common(plugin=plugins)
    known = load_plugins(config).merge("register_datasets", config=config)
    checks = Checks()
    recipes = {name: checks(read_recipe, path, (), name) for name, path in known.items()}
    show_list({name: recipe.description for name, recipe in recipes.items() if recipe})
    checks.done()


def show_dataset(plugins: tuple, name: str, dataset_option, dataset_path, template) -> None:
    """Print what a recipe says, the command that trains on it, and a row; a real one if at hand."""
    config = Common(plugin=plugins)
    hooks = load_plugins(config)
    known = hooks.merge("register_datasets", config=config)
    recipe = find_recipe(name, known, dataset_option)
    if recipe is None:
        raise unknown("dataset", name, known)
    found = find_template(template or TEMPLATE, known_templates(hooks, config))
    where, messages = shown_row(
        recipe, dataset_path, hooks.merge("register_formats", config=config)
    )
    click.echo("\n".join(lines_of(recipe, name, dataset_option, dataset_path)))
    marks = Marks("<bos>", "<eos>", tuple(filter(None, [found.eos])))
    pieces = found.pieces(messages, marks)
    click.echo(f"\n── {visible(where)}, as {found.name} renders it")
    click.echo(show_pieces(pieces, in_colour()).rstrip())


def lines_of(recipe: Recipe, asked: str, given: tuple, dataset_path: str | None) -> list[str]:
    """What a recipe says, a line each or more, and how to train on it."""
    splits = [ours if ours == its or recipe.is_bundled else f"{ours} (its {its})"
              for ours, its in recipe.splits.items()]  # fmt: skip
    path = dataset_path or ("FILE" if recipe.bring and not recipe.source else None)
    command = ["python", "train.py", "--dataset", asked]
    command += [word for pair in given for word in ("--dataset-option", "=".join(pair))]
    command += ["--dataset-path", path] if path else []
    said = {
        "license": recipe.license,
        "source": f"{recipe.source} on the Hub" if recipe.source else "",
        "bring": recipe.bring,
        "subset": recipe.subset,
        "splits": ", ".join(splits),
        **{f"option {name}": option_text(recipe, name) for name in recipe.options},
    }
    width = max(map(len, [*said, "train"])) + 2
    lines = [click.style(recipe.name, bold=True) + f"  {recipe.description}".rstrip()]
    for title, text in said.items():
        if text:
            lines += textwrap.wrap(
                text, 100, initial_indent=title.ljust(width), subsequent_indent=" " * width,
                break_long_words=False, break_on_hyphens=False,
            )  # fmt: skip
    return [*lines, "train".ljust(width) + shlex.join(command)]  # in one line, to be copied


def option_text(recipe: Recipe, name: str) -> str:
    """The value that is chosen, and what else could be."""
    choices = choices_of(recipe.options[name])
    return recipe.chosen[name] + (f", of {', '.join(choices)}" if choices else "")


def shown_row(recipe: Recipe, dataset_path: str | None, formats: dict) -> tuple[str, list[dict]]:
    """(where, messages) of the first usable row of the files at hand, or of the made-up example."""
    recogniser = Recogniser(formats, (), answered=True)
    real = dataset_path or recipe.is_bundled
    if not real and not recipe.example:
        raise UserError(
            f"{recipe.path}: there is no 'example' to show; give a local copy: --dataset-path FILE."
        )
    if real:
        split = next(iter(recipe.splits), "train")
        source = first_rows(*recipe.location(split, dataset_path), recipe)
    else:
        source = (("an example, made up", row) for row in recipe.example)
    first = None
    for where, row in recipe.apply(source):
        try:
            if isinstance(row, Unusable):
                raise row
            return where, recogniser.messages_of(row)
        except Unusable as reason:
            first = first or f"{where}: {reason}"
    raise UserError(f"{recipe.name}: no row can be shown; {first or 'there is none'}.")


def first_rows(source: str, split: str, recipe: Recipe):
    """The rows of a file or a folder that the recipe is read from."""
    found = read_source(Source(source, split, recipe.subset), {})
    if found is None:
        raise UserError(f"--dataset-path {source}: no file or folder of rows.")
    return found
