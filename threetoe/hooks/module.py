"""A plugin's module: imported and checked, or why it cannot be used, in one line."""

import ast
import importlib.util
import inspect
import sys
import traceback
from pathlib import Path
from types import ModuleType

from threetoe.errors import UserError, did_you_mean, no_such_file
from threetoe.hooks import specs
from threetoe.hooks.answers import kind
from threetoe.hooks.plugin import HOOKS, OURS, described, is_hook, own_settings, place_of

AFTER_UNSLOTH = ("unsloth", "transformers", "trl", "peft", "accelerate", "bitsandbytes")


def checked(name: str, load) -> ModuleType:
    """A plugin's module, or a UserError that says in one line why it cannot be used."""
    module = load_or_explain(name, load)
    if not isinstance(module, ModuleType):
        raise UserError(f"Plugin {name} is {kind(module)}, not a module with hooks.")
    found = [n for n in vars(module) if is_hook(module, n)]
    has_settings = own_settings(module) is not None
    for hook in found:
        where = place_of(getattr(module, hook))
        if hook not in HOOKS:
            raise UserError(
                f"Plugin {name}: there is no hook '{hook}'.{did_you_mean(hook, HOOKS)} "
                f"A helper's name may start with an underscore. ({where})"
            )
        check_arguments(name, hook, getattr(module, hook), where, has_settings)
    if not found:
        raise UserError(
            f"Plugin {name} has no hooks of its own (imported ones do not count). "
            f"Known hooks: {', '.join(HOOKS)}."
        )
    return module


def check_arguments(name: str, hook: str, function, where: str, has_settings: bool) -> None:
    """A hook declares only arguments that its specification has, and no defaults."""
    allowed = list(inspect.signature(getattr(specs, hook)).parameters)
    if has_settings:
        allowed.append("settings")
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name == "settings" and not has_settings:
            raise UserError(
                f"Plugin {name}: {hook} takes 'settings', but the plugin declares none: write a "
                f"frozen dataclass Settings. ({where})"
            )
        if parameter.name not in allowed:
            raise UserError(
                f"Plugin {name}: {hook} has no argument '{parameter}'."
                f"{did_you_mean(parameter.name, allowed)} It may take: {', '.join(allowed)}. "
                f"({where})"
            )
        if parameter.kind is not parameter.POSITIONAL_OR_KEYWORD:
            raise UserError(
                f"Plugin {name}: {hook} takes '{parameter.name}' in one way only; "
                f"remove the * or / between its arguments. ({where})"
            )
        if parameter.default is not parameter.empty:
            raise UserError(
                f"Plugin {name}: {hook} gives '{parameter.name}' a default, so it would never be "
                f"passed; remove the default. ({where})"
            )


def import_plugin(name: str) -> ModuleType:
    """The module behind file.py or package.module."""
    if not name.endswith(".py"):
        if name.startswith(".") or not name:
            raise no_module(name)
        unsloth_first(importlib.util.find_spec(name))
        return importlib.import_module(name)
    path = Path(name).expanduser()
    if not path.is_file():
        raise UserError(f"Plugin {name}: {no_such_file(path)}")
    return import_file(path)


def import_file(path: Path) -> ModuleType:
    """The module of a file, which is run, after unsloth where it needs to be."""
    path = path.resolve()
    spec = importlib.util.spec_from_file_location(f"threetoe_plugin_{path.stem}", path)
    unsloth_first(spec)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    code = spec.loader.source_to_code(path.read_bytes(), str(path))
    exec(code, vars(module))  # and not exec_module, which writes __pycache__ beside the file
    return module


def load_point(point):
    """What an installed package's entry point names."""
    unsloth_first(importlib.util.find_spec(point.module))
    return point.load()


def unsloth_first(spec) -> None:
    """Import unsloth before a plugin whose own imports would come before it: of these libraries
    unsloth changes parts when it is imported. It takes seconds, so for such plugins alone."""
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        return
    tree = ast.parse(Path(spec.origin).read_bytes(), spec.origin)
    names = [n.name for line in tree.body if isinstance(line, ast.Import) for n in line.names]
    names += [line.module or "" for line in tree.body if isinstance(line, ast.ImportFrom)]
    if any(name.partition(".")[0] in AFTER_UNSLOTH for name in names):
        from threetoe.machine.libraries import load_unsloth

        load_unsloth()


def load_or_explain(name: str, load, what: str = "Plugin") -> ModuleType:
    try:
        return load()
    except UserError:
        raise
    except SyntaxError as error:
        place = f"{error.filename}:{error.lineno}" if error.lineno else name
        raise UserError(f"{what} {name} is not Python: {error.msg} ({place}).") from error
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != name.partition(".")[0]:
            raise UserError(explained(f"{what} {name}", error)) from error
        raise no_module(name) from error
    except (Exception, SystemExit) as error:  # an import runs anything, so anything can come out
        raise UserError(explained(f"{what} {name}", error)) from error


def no_module(name: str) -> UserError:
    hint = f" Did you mean '{name}.py'?" if Path(f"{name}.py").is_file() else ""
    return UserError(
        f"Plugin {name}: no module of that name is installed; a file's name ends in .py.{hint}"
    )


def explained(what: str, error: BaseException) -> str:
    """What an import raised, and the plugin's line it came from."""
    frames = [
        f for f in traceback.extract_tb(error.__traceback__) if OURS not in Path(f.filename).parents
    ]
    frames = [f for f in frames if "importlib" not in f.filename]
    place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return f"{what} cannot be loaded: {described(error)}{place}"
