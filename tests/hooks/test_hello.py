"""The example package: what `plugins new` writes, built, installed, and seen to work."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from conftest import ROOT

from threetoe.commands import new_plugin
from threetoe.errors import UserError
from threetoe.hooks.load import load_plugins
from threetoe.options.train import TrainConfig

HELLO = ROOT / "examples" / "threetoe-plugin-hello"
ROWS = '{"prompt": "Hi", "completion": "Hi"}\n{"prompt": "Hi", "completion": "Hello!"}\n'


def texts(folder):
    """{path below a folder: text} of its files, byte code left out."""
    found = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    return {path.relative_to(folder): path.read_text(encoding="utf-8") for path in found}


def done(*words, cwd, code=0, **settings):
    ran = subprocess.run(
        list(map(str, words)), cwd=cwd, capture_output=True, encoding="utf-8",
        env={**os.environ, "HF_HUB_OFFLINE": "1"} | settings,
    )  # fmt: skip
    assert ran.returncode == code, ran.stdout + ran.stderr
    return ran


@pytest.fixture(scope="module")
def user(tmp_path_factory):
    """The Python of a fresh environment with the example installed from its wheel.

    It sees the packages of the environment that the tests run in, and this clone's threetoe.
    """
    folder = tmp_path_factory.mktemp("user")
    shutil.copytree(HELLO, folder / "source", ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    quiet = ["-q", "--no-deps", "--no-index"]
    build = [*pip, "wheel", *quiet, "--no-build-isolation", "-w", folder, folder / "source"]
    done(*build, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "venv", with_pip=False, symlinks=True)
    python = folder / "venv" / "bin" / "python"
    own = sysconfig.get_path("purelib", scheme="venv", vars={"base": str(folder / "venv")})
    seen = [place for place in sys.path if Path(place).name in ("site-packages", "dist-packages")]
    Path(own, "tests_see.pth").write_text("\n".join([str(ROOT), *seen]), encoding="utf-8")
    done(*pip, "--python", python, "install", *quiet, wheel, cwd=folder)
    (folder / "rows.jsonl").write_text(ROWS, encoding="utf-8")
    return python, folder


def test_the_example_is_what_new_writes(here):
    new_plugin.write_plugin("hello")
    assert texts(here / "threetoe-plugin-hello") == texts(HELLO)


def test_the_installed_example_is_listed_with_its_package(user):
    python, folder = user
    listed = done(python, "-m", "threetoe", "plugins", cwd=folder).stdout.splitlines()
    assert listed[0].split() == [
        "1",
        *"threetoe_plugin_hello installed threetoe-plugin-hello 0.1.0".split(),
    ]
    assert listed[1].split() == ["hooks", "map_messages"]


@pytest.mark.parametrize(("settings", "read"), [({}, 1), ({"THREETOE_LOAD_PLUGINS": ""}, 2)])
def test_the_installed_example_acts_unless_it_is_switched_off(user, settings, read):
    python, folder = user
    preview = "train.py --model tiny --dataset rows.jsonl --preview 2".split()
    shown = done(python, ROOT / preview[0], *preview[1:], cwd=folder, **settings)
    assert f"2 rows read from rows.jsonl, {read} to train on" in shown.stderr
    assert ("dropped by plugin threetoe_plugin_hello" in shown.stderr) == (read == 1)


@pytest.mark.wide
def test_the_example_s_own_test_passes(user):
    python, folder = user
    said = done(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=folder / "source")
    assert "1 passed" in said.stdout


def test_new_writes_a_plugin_that_is_named_nowhere_as_the_example(here):
    new_plugin.write_plugin("glossary-of-mine")
    files = texts(here / "threetoe-plugin-glossary-of-mine")
    example = re.compile("plugin.hello|^hello", re.MULTILINE)
    assert [path for path, text in files.items() if example.search(f"{path}\n{text}")] == []
    assert 'glossary-of-mine = "threetoe_plugin_glossary_of_mine"' in files[Path("pyproject.toml")]
    plugin = "threetoe-plugin-glossary-of-mine/threetoe_plugin_glossary_of_mine.py"
    assert load_plugins(TrainConfig(plugin=(plugin,))).plugins[0].hooks == ("map_messages",)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("Hello_World", " Did you mean 'hello-world'?"),
        ("threetoe-plugin-hello", " Did you mean 'hello'?"),
        ("../up", " Did you mean 'up'?"),
        ("3d", " Did you mean 'd'?"),
        ("-x", " Did you mean 'x'?"),
        ("a--b", " Did you mean 'a-b'?"),
        ("你好", ""),
        ("", ""),
        ("x" * 61, f" Did you mean '{'x' * 60}'?"),
    ],
)
def test_a_name_that_no_package_can_have_is_refused(here, name, hint):
    with pytest.raises(UserError) as raised:
        new_plugin.write_plugin(name)
    assert str(raised.value) == (
        f"'{name}' cannot be a plugin's name: small letters and digits, with single hyphens "
        f"between, 60 at most; threetoe-plugin- is put in front.{hint}"
    )
    assert list(here.iterdir()) == []


def test_an_existing_folder_is_refused(here):
    (here / "threetoe-plugin-mine").mkdir()
    with pytest.raises(UserError, match="^threetoe-plugin-mine exists already; move it away or "):
        new_plugin.write_plugin("mine")
    assert [path.name for path in here.rglob("*")] == ["threetoe-plugin-mine"]
