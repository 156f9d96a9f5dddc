"""A dataclass of options becomes a click command; --config YAML passes the same checks."""

import re
from contextlib import suppress
from dataclasses import fields

import click
from click.core import ParameterSource, iter_params_for_processing

from threetoe.options.arguments import explain_place, is_run, kept_words
from threetoe.options.config_file import read_config, refuse_code, write_as_flag
from threetoe.options.reporting import fail, run_reporting_errors


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
            record = context.meta.get("record") if "plugin" not in given else None
            config = config_class(**given, problems=tuple(context.meta["problems"]), record=record)
            run_reporting_errors(function, config)

        settings = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
        return Command(
            None, callback=callback, params=params, help=function.__doc__, context_settings=settings
        )

    return decorate


def configure(config_class, options: dict):
    """The configuration of keyword arguments, which are checked as the flags of their names are;
    what is wrong with them is in its `problems`."""
    params = {param.name: param for param in command(config_class)(print).params}
    words, questions = [], []
    for name, value in options.items():
        param = params.get(name)
        if isinstance(param, click.Argument):
            questions += [] if value is None else ["--", str(value)]
        elif value is not None:
            words += spell_flag(name, param, value)
    return read_words(config_class, [*words, *questions])


def read_words(config_class, words: list[str]):
    """The configuration of a command line; what is wrong with it is in its `problems`."""
    arrived = []
    reader = command(config_class)(arrived.append)
    reader.add_help_option = False  # which would end it
    reader.main(words, standalone_mode=False)
    return arrived[0]


def spell_flag(name: str, param, value) -> list[str]:
    """A keyword argument as it is typed; one that is not known as well, for its message."""
    if param is None:
        return [f"--{name}"]
    if param.is_flag:
        return (param.opts if value else param.secondary_opts)[:1]
    value = list(value) if isinstance(value, (tuple, set)) else value
    typed = write_as_flag(param, value)
    return [f"{param.opts[0]}={word}" for word in (typed if isinstance(typed, list) else [typed])]


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
        ["--config"], type=click.Path(dir_okay=False), is_eager=True, expose_value=False,
        callback=read_config,
        help="Options from a YAML file or a run's run.json; flags win over it.",
    )  # fmt: skip
    option.group = "Options"
    return option


class Command(click.Command):
    """A click command that gathers what is wrong with its arguments and shows options in groups."""

    def parse_args(self, ctx, args):
        problems = ctx.meta.setdefault("problems", [])
        options = [param for param in self.get_params(ctx) if isinstance(param, click.Option)]
        words = kept_words(options, args, problems)
        opts, rest, order = self.make_parser(ctx).parse_args(args=words)
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
        refuse_code(ctx)
        if "--" not in args:
            rest = self.without_places(ctx, rest, problems)
        if rest:
            problems.append(f"Unexpected argument '{' '.join(rest)}'; quote a text with spaces.")
        ctx.args = []
        return []

    def without_places(self, ctx, rest: list[str], problems: list[str]) -> list[str]:
        """The words that are left over, unless one, or the question, is the name of a file or
        folder: then that is the problem."""
        flags = [flag for param in self.get_params(ctx) for flag in param.opts]
        asked = str(ctx.params.get("prompt"))
        clear = is_run(asked) or re.search(r"[./]", asked)  # "data" may be a question
        words = [*rest, asked] if clear else rest
        said = {word: explain_place(word, flags) for word in words}
        problems += filter(None, said.values())
        return [] if any(said.values()) else rest

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
