"""python -m threetoe plugins new: the first files of a plugin that can be installed."""

import inspect
import re
import textwrap
from pathlib import Path
from string import Template

from threetoe.errors import UserError, unknown
from threetoe.hooks import specs as hookspecs
from threetoe.hooks.plugin import HOOKS

DEFAULT = "map_messages"
NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
LONGEST = 60  # characters; a folder, a module and a test file are named after it
PYPROJECT = """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "$package"
version = "0.1.0"
description = "A plugin for Threetoe."
readme = "README.md"
requires-python = ">=3.11"
# Threetoe is installed from its repository. Its name stands at no package index, where a stranger
# could take it, so it is not named here either.
dependencies = []

[project.optional-dependencies]
test = ["pytest>=8"]

# Under this entry point Threetoe finds the plugin once it is installed.
[project.entry-points.threetoe]
$name = "$module"

[tool.setuptools]
py-modules = ["$module"]

[tool.pytest.ini_options]
testpaths = ["tests"]
pythonpath = ["."]
"""
README = """\
# $package

A plugin for Threetoe. Its hooks:

$hooks

## Use

In the environment that Threetoe is installed in:

```sh
python -m pip install -e ".[test]"
python -m threetoe plugins
python -m threetoe plugins explain train.py --dataset my.json
python train.py --dataset my.json --preview 3
```

`python -m threetoe plugins` shows that it is found; from then on `train.py`, `infer.py` and
`export.py` load it. With `THREETOE_LOAD_PLUGINS=` (empty) in the environment they do not.

`docs/plugins.md` in Threetoe's repository describes every hook, and how a plugin declares settings
for `--set`.

## Test

```sh
python -m pytest
```

`pytest_plugins = ["threetoe.testing"]` brings the fixture `rehearsal`. Called with the plugin, it
trains three steps on Threetoe's embedded model, asks one question and exports the adapter, all
with the real scripts in a temporary folder, in about 20 seconds on one CPU core. It returns

| field | what it is |
|---|---|
| `run`, `exported` | the run folder, the folder of the exported adapter |
| `answer` | what `infer.py` answered |
| `printed` | what the three scripts printed |
| `record`, `metrics` | what `run.json` holds, and the metrics in it |

It trains on `rows=[...]`, asks `question="..."`, and hands on more options in `train=[...]`,
`infer=[...]` and `export=[...]`, such as `train=["--seed", 1]`. A script that fails fails the test
and shows what it said.

## Before you publish it

Choose a licence: a file `LICENSE` and a line `license = "..."` in `pyproject.toml`. Say above what
the plugin does and which version of Threetoe it was tested with.
"""
MODULE = '''\
"""A plugin for Threetoe: a function with a hook's name is that hook.

A hook takes any of its arguments, by name; a helper's name starts with an underscore.
"""
'''
FIRST_HOOK = '''\
def map_messages(messages):
    """Drop a row whose answer repeats the question: it would teach the model to echo."""
    asked, answer = (message["content"].strip() for message in messages[-2:])
    return None if asked == answer else messages
'''
TEST = '''\
"""Three steps of training, one answer and an export with the plugin."""

pytest_plugins = ["threetoe.testing"]
'''
FIRST_TEST = """\
def test_a_row_that_echoes_is_dropped(rehearsal):
    rows = [{"prompt": "Hi", "completion": text} for text in ("Hi", "Hello!", "Good day!")]
    done = rehearsal("$module", rows=rows)
    assert done.record["data"]["skipped"] == {"dropped by plugin $module": 1}
"""
ANY_TEST = """\
def test_the_scripts_run_with_the_plugin(rehearsal):
    done = rehearsal("$module")
    assert done.metrics["steps"] == 3
"""
BODIES = {  # by a hook's prefix, where nothing is done yet
    "register_": "return {}  # nothing is added yet",
    "load_": "return None  # the next plugin is asked, and the built-in last",
    "build_": "return None  # the next plugin is asked, and the built-in last",
    "map_": "return VALUE",
    "after_": 'print(f"$package: {folder} is complete")',
}


def write(name: str, hooks=()) -> list[Path]:
    """Make ./threetoe-plugin-NAME with one function for each hook; the files that were written.

    UserError when the name cannot be a package's, the folder exists, or there is no such hook.
    """
    check_name(name)
    for hook in hooks:
        if hook not in HOOKS:
            raise unknown("hook", hook, HOOKS)
    folder = Path(f"threetoe-plugin-{name}")
    if folder.exists() or folder.is_symlink():
        raise UserError(f"{folder} exists already; move it away or choose another name.")
    texts = files_of(name, tuple(dict.fromkeys(hooks)) or (DEFAULT,))
    for place, text in texts.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(text, encoding="utf-8", newline="\n")
    return [folder / place for place in texts]


def check_name(name: str) -> None:
    if NAME.fullmatch(name) and len(name) <= LONGEST and not name.startswith("threetoe-plugin"):
        return
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower().replace("threetoe", "").replace("plugin", ""))
    plain = plain.strip("-0123456789")[:LONGEST].strip("-")
    hint = f" Did you mean '{plain}'?" if plain else ""
    raise UserError(
        f"'{name}' cannot be a plugin's name: small letters and digits, with single hyphens "
        f"between, {LONGEST} at most; threetoe-plugin- is put in front.{hint}"
    )


def files_of(name: str, hooks: tuple) -> dict[str, str]:
    """{path in the plugin's folder: text} of everything that is written."""
    package = f"threetoe-plugin-{name}"
    module = package.replace("-", "_")
    functions = [FIRST_HOOK if hook == DEFAULT else function_of(hook) for hook in hooks]
    tests = [FIRST_TEST] * (DEFAULT in hooks) or [ANY_TEST]
    texts = {
        "pyproject.toml": PYPROJECT,
        "README.md": README,
        f"{module}.py": "\n\n".join([MODULE, *functions]),
        f"tests/test_{module}.py": "\n\n".join([TEST, *tests]),
    }
    table = "\n".join(["| hook | what it does |", "|---|---|", *map(row_of, hooks)])
    words = {"name": name, "package": package, "module": module, "hooks": table}
    return {place: Template(text).substitute(words) for place, text in texts.items()}


def function_of(hook: str) -> str:
    """A function with a hook's signature and description that changes nothing."""
    specification = getattr(hookspecs, hook)
    signature = inspect.signature(specification)
    prefix = next(prefix for prefix in hookspecs.PREFIXES if hook.startswith(prefix))
    body = BODIES[prefix].replace("VALUE", next(iter(signature.parameters)))
    told = re.sub(r"\s*Since [\d.]+\Z", "", inspect.getdoc(specification))
    text = f'"""{told}\n"""' if "\n" in told else f'"""{told}"""'
    return f"def {hook}{signature}:\n" + textwrap.indent(f"{text}\n{body}\n", "    ")


def row_of(hook: str) -> str:
    does = "drops a row whose answer repeats the question" if hook == DEFAULT else "nothing yet"
    return f"| `{hook}` | {does} |"
