"""The example package: what `plugins new` writes, built, installed, and seen to work."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from conftest import ROOT

from threetoe.commands import new_plugin as skeleton
from threetoe.errors import UserError
from threetoe.hooks.load import load_plugins
from threetoe.hooks.plugin import HOOKS
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
    skeleton.write("hello")
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


def test_new_writes_every_hook_that_is_asked_for(here):
    skeleton.write("all-of-it", (*HOOKS, "map_reply"))
    path = "threetoe-plugin-all-of-it/threetoe_plugin_all_of_it.py"
    (plugin, _) = load_plugins(TrainConfig(plugin=(path,))).plugins
    assert plugin.hooks == HOOKS
    text = (here / path).read_text()
    assert "Since" not in text and text.count("def map_reply(") == 1


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
        skeleton.write(name)
    assert str(raised.value) == (
        f"'{name}' cannot be a plugin's name: small letters and digits, with single hyphens "
        f"between, 60 at most; threetoe-plugin- is put in front.{hint}"
    )
    assert list(here.iterdir()) == []


def test_an_existing_folder_and_an_unknown_hook_are_refused(here):
    (here / "threetoe-plugin-mine").mkdir()
    with pytest.raises(UserError, match="^threetoe-plugin-mine exists already; move it away or "):
        skeleton.write("mine")
    with pytest.raises(UserError, match="^No hook named 'map_repli'. Did you mean 'map_reply'?"):
        skeleton.write("other", ("map_repli",))
    assert [path.name for path in here.rglob("*")] == ["threetoe-plugin-mine"]
