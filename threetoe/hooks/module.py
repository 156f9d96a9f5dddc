"""A plugin's module: imported and checked, or why it cannot be used, in one line."""

import ast
import importlib.util
import inspect
import sys
from pathlib import Path
from types import ModuleType

from threetoe.errors import UserError, did_you_mean, no_such_file
from threetoe.hooks import specs
from threetoe.hooks.answers import kind
from threetoe.hooks.plugin import (
    HOOKS,
    PASSED,
    describe,
    is_hook,
    own_settings,
    place_in,
    place_of,
)

AFTER_UNSLOTH = ("unsloth", "transformers", "trl", "peft", "accelerate", "bitsandbytes")


def load_checked(name: str, load) -> ModuleType:
    """A plugin's module, or a UserError that says in one line why it cannot be used."""
    module = load_or_explain(name, load)
    if not isinstance(module, ModuleType):
        raise UserError(f"Plugin {name} is {kind(module)}, not a module with hooks.")
    found = [n for n in vars(module) if is_hook(module, n)]
    for hook in found:
        function = vars(module)[hook]
        fault = find_fault(hook, function, own_settings(module) is not None)
        if fault:
            raise UserError(f"Plugin {name}: {fault} ({place_of(function)})")
    if not found:
        raise UserError(
            f"Plugin {name} has no hooks of its own (imported ones do not count). "
            f"Known hooks: {', '.join(HOOKS)}."
        )
    return module


def find_fault(hook: str, function, has_settings: bool) -> str | None:
    """What is wrong with a hook's name or arguments, which are those of its specification; None
    when nothing is. pluggy sees it too, and does not say what was meant."""
    if hook not in HOOKS:
        hint = did_you_mean(hook, HOOKS)
        return f"there is no hook '{hook}'.{hint} A helper's name may start with an underscore."
    allowed = [*inspect.signature(getattr(specs, hook)).parameters]
    allowed += ["settings"] * has_settings
    for name, parameter in inspect.signature(function).parameters.items():
        if name == "settings" and not has_settings:
            return (
                f"{hook} takes 'settings', but the plugin declares none: write a frozen dataclass "
                "Settings."
            )
        if str(parameter).startswith("*") or name not in allowed:
            return (
                f"{hook} has no argument '{parameter}'.{did_you_mean(name, allowed)} It may take: "
                f"{', '.join(allowed)}."
            )
    return None


def import_plugin(name: str) -> ModuleType:
    """The module behind file.py or package.module."""
    if not name.endswith(".py"):
        if name.startswith(".") or not name:
            raise no_module(name)
        import_unsloth_before(importlib.util.find_spec(name))
        return importlib.import_module(name)
    path = Path(name).expanduser()
    if not path.is_file():
        raise UserError(f"Plugin {name}: {no_such_file(path)}")
    return import_file(path)


def import_file(path: Path) -> ModuleType:
    """The module of a file, which is run, after unsloth where it needs to be."""
    path = path.resolve()
    spec = importlib.util.spec_from_file_location(f"threetoe_plugin_{path.stem}", path)
    import_unsloth_before(spec)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    code = spec.loader.source_to_code(path.read_bytes(), str(path))
    exec(code, vars(module))  # and not exec_module, which writes __pycache__ beside the file
    return module


def import_point(point):
    """What an installed package's entry point names."""
    import_unsloth_before(importlib.util.find_spec(point.module))
    return point.load()


def import_unsloth_before(spec) -> None:
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
    """The module that `load()` returns; UserError says in one line why there is none."""
    try:
        return load()
    except PASSED:
        raise
    except SyntaxError as error:
        place = f"{error.filename}:{error.lineno}" if error.lineno else name
        raise UserError(f"{what} {name} is not Python: {error.msg} ({place}).") from error
    except BaseException as error:  # an import runs anything, so anything can come out
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing and missing.partition(".")[0] == name.partition(".")[0]:
            raise no_module(name) from error
        place = place_in(None, None, error)
        said = f"{what} {name} cannot be loaded: {describe(error)}"
        raise UserError(said + f" ({place})" * bool(place)) from error


def no_module(name: str) -> UserError:
    hint = f" Did you mean '{name}.py'?" if Path(f"{name}.py").is_file() else ""
    return UserError(
        f"Plugin {name}: no module of that name is installed; a file's name ends in .py.{hint}"
    )
