"""A dataclass of options becomes a click command; --config YAML passes the same checks."""

import errno
import os
import sys
from contextlib import suppress
from dataclasses import fields
from io import TextIOWrapper

import click
from click.core import ParameterSource, iter_params_for_processing

from threetoe.errors import TOKEN, TYPED_TOKEN, Failure, UserError, did_you_mean, without_tokens
from threetoe.machine.terminal import visible
from threetoe.options.config_file import read_config

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS)
NO_PATH = (errno.ENAMETOOLONG, errno.ENOTDIR)


def command(config_class, only=()):
    """Turn a function of one configuration into a click command with the class's options, or
    with those named in `only`.

    The function's docstring is the help. Problems of the command line are not raised one by
    one: they travel in `config.problems`, to be reported with all others.
    """

    def decorate(function):
        chosen = [f for f in fields(config_class) if not only or f.name in only]
        params = [as_param(f) for f in chosen if "help" in f.metadata]
        params.append(config_option())

        @click.pass_context
        def callback(context, **values):
            given = {n: v for n, v in values.items() if is_given(context, n)}
            config = config_class(**given, problems=tuple(context.meta["problems"]))
            run_reporting_errors(function, config)

        settings = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
        return Command(
            None, callback=callback, params=params, help=function.__doc__, context_settings=settings
        )

    return decorate


def run_reporting_errors(function, config) -> None:
    """Call `function(config)`; a user's mistake exits with 2, a failure that is named with 1."""
    if isinstance(sys.stdout, TextIOWrapper):  # a terminal may lack characters of an answer
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        function(config)
    except UserError as error:
        fail(error.problems, 2)
    except Failure as error:
        fail(error.problems, 1)
    except OSError as error:
        if error.errno in NO_PATH:
            fail([f"{error.strerror}: {error.filename}"], 2)
        if error.errno not in NO_ROOM:
            raise
        fail([f"{error.strerror}: {error.filename or 'the output'}. What was saved stays."], 1)
    except KeyboardInterrupt:
        fail(["Stopped."], 130)  # what was saved has been said


def fail(problems: list[str], code: int) -> None:
    colour = False if os.environ.get("NO_COLOR") else None  # no-color.org; None: on a terminal
    for problem in map(without_tokens, problems):
        click.echo(f"{click.style('Error:', fg='red')} {visible(problem)}", err=True, color=colour)
    raise SystemExit(code)


def is_given(context, name: str) -> bool:
    """Whether a value came from the command line or a --config file."""
    source = context.get_parameter_source(name)
    return name in context.params and source not in (None, ParameterSource.DEFAULT)


def as_param(f) -> click.Parameter:
    """The click parameter of a dataclass field."""
    metadata = dict(f.metadata)
    group, switch = metadata.pop("group"), metadata.pop("switch", False)
    adds = metadata.pop("adds", False)
    if metadata.pop("argument", False):
        return click.Argument([f.name], required=False)
    flag = metadata.pop("flag", "--" + f.name.replace("_", "-"))
    if isinstance(metadata.get("show_default"), str):
        metadata["help"] += f"  [default: {metadata.pop('show_default')}]"
    elif f.default is not None and f.default is not False and f.default != ():
        metadata = {"default": f.default, "show_default": True} | metadata
    if isinstance(metadata["type"], (click.types.IntParamType, click.types.FloatParamType)):
        metadata["metavar"] = "N"
    if switch:
        flag += f"/--no{flag[1:]}"
    if switch or metadata.get("is_flag"):
        metadata.pop("type")
    short = [metadata.pop("short")] if "short" in metadata else []
    param = click.Option([*short, flag, f.name], expose_value=True, **metadata)
    param.group, param.adds = group, adds
    return param


def add_to_file(context, param) -> None:
    """Put the values of a --config file before those of the command line, which win as later."""
    before = param.type_cast_value(context, context.lookup_default(param.name))
    context.params[param.name] = (*before, *context.params[param.name])


def config_option() -> click.Option:
    option = click.Option(
        ["--config"],
        type=click.Path(dir_okay=False),
        is_eager=True,
        expose_value=False,
        callback=read_config,
        help="Options from a YAML file or a run's run.json; flags win over it.",
    )
    option.group = "Options"
    return option


def no_option(flag: str, known) -> str:
    if flag.strip("-") in ("token", "hf-token", "hub-token"):
        return f"There is no {flag}: the token is read from HF_TOKEN, or from the saved login."
    if " " in flag:
        return f"'{flag}' starts with '-', as an option does; put -- before such a text."
    return f"No such option: {flag}.{did_you_mean(flag, known)}"


class Command(click.Command):
    """A click command that gathers what is wrong with its arguments and shows options in groups."""

    def parse_args(self, ctx, args):
        problems = ctx.meta.setdefault("problems", [])
        if any(TOKEN.fullmatch(arg.partition("=")[2] or arg) for arg in args):
            problems.append(TYPED_TOKEN)
        args = self.without_mistakes(ctx, args, problems)
        parser = self.make_parser(ctx)
        opts, rest, order = parser.parse_args(args=args)
        for param in iter_params_for_processing(order, self.get_params(ctx)):
            try:
                _, rest = param.handle_parse_result(ctx, opts, rest)
                if getattr(param, "adds", False) and param.name in opts:
                    add_to_file(ctx, param)
            except click.BadParameter as error:
                from_file = ctx.get_parameter_source(param.name) is ParameterSource.DEFAULT_MAP
                place = f"{ctx.meta['config']}: " if from_file else ""
                problems.append(place + error.format_message())
                ctx.params.pop(param.name, None)
        if rest:
            problems.append(f"Unexpected argument '{' '.join(rest)}'; quote a text with spaces.")
        ctx.args = []
        return []

    def without_mistakes(self, ctx, args, problems) -> list[str]:
        """The arguments that click can parse; options that do not exist are problems, and so are
        those that lack their value or have one too many."""
        options = [param for param in self.get_params(ctx) if isinstance(param, click.Option)]
        takes_value = {f: not p.is_flag for p in options for f in (*p.opts, *p.secondary_opts)}
        kept, left = [], list(args)
        while left and left[0] != "--":
            arg = left.pop(0)
            flag, equals, _ = arg.partition("=")
            value_follows = bool(left) and left[0] != "--" and left[0] not in takes_value
            if arg == "-" or not arg.startswith("-"):
                kept.append(arg)
            elif flag not in takes_value:
                problems.append(no_option(flag, takes_value))
                if value_follows and not equals and not left[0].startswith("--"):
                    left.pop(0)
            elif equals and not takes_value[flag]:
                problems.append(f"{flag} takes no value; write {flag} alone.")
            elif equals or not takes_value[flag]:
                kept.append(arg)
            elif value_follows:
                kept += [arg, left.pop(0)]
            else:
                problems.append(f"{flag} needs a value.")
        return kept + left

    def format_options(self, ctx, formatter):
        groups = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record and isinstance(param, click.Option):
                groups.setdefault(getattr(param, "group", "Options"), []).append(record)
        for group in sorted(groups, key=lambda name: name in ("Plugins", "Options")):
            with formatter.section(group):
                formatter.write_dl(groups[group])

    def main(self, *args, **kwargs):
        """Run; a usage error is one line, as every other problem is."""
        if not kwargs.get("standalone_mode", True):
            return super().main(*args, **kwargs)
        try:
            return super().main(*args, **{**kwargs, "standalone_mode": False})
        except click.ClickException as error:
            fail([error.format_message()], 2)
        except click.Abort:
            with suppress(BrokenPipeError):
                fail(["Stopped."], 130)
