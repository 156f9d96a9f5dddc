"""What the wheel holds, how it works outside the clone, and what the lock pins."""

import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
DATA = ["templates", "datasets", "models", "examples"]
SCRIPTS = ["train.py", "infer.py", "export.py"]
LEFT_BEHIND = shutil.ignore_patterns(".git", ".venv", "runs", "build", "__pycache__", "*.egg-info")

WORKING_SET = """
    torch==2.13.0 unsloth==2026.10.9 unsloth_zoo==2026.10.9 transformers==5.17.0 trl==1.15.0
    peft==0.21.2 bitsandbytes==0.50.2 accelerate==1.15.0 datasets==4.8.5 click==8.5.1
""".split()


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with threetoe in it, installed from a wheel that was built from a copy."""
    clone, wheels, target = (
        tmp_path_factory.mktemp(name) for name in ("clone", "wheels", "target")
    )
    shutil.copytree(ROOT, clone, ignore=LEFT_BEHIND, dirs_exist_ok=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    build = [*pip, "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", wheels, clone]
    subprocess.run(build, check=True)
    shutil.rmtree(clone)
    (wheel,) = wheels.glob("*.whl")
    subprocess.run([*pip, "install", "-q", "--no-deps", "--target", target, wheel], check=True)
    return target


def test_the_wheel_holds_the_library_the_scripts_and_the_data(installed):
    paths = [*(ROOT / "threetoe").rglob("*.py"), *(ROOT / "threetoe").rglob("*.jinja")]
    source = {path.relative_to(ROOT).as_posix() for path in paths}
    scripts = {f"threetoe/scripts/{name}" for name in SCRIPTS}
    data = {f"threetoe/{name}" for folder in DATA for name in files(ROOT / folder, ROOT)}
    assert set(files(installed / "threetoe", installed)) == source | scripts | data


def test_the_wheel_adds_nothing_beside_threetoe(installed):
    (metadata,) = installed.glob("threetoe-*.dist-info")
    assert {path.name for path in installed.iterdir()} == {"threetoe", "bin", metadata.name}


def test_an_installed_library_finds_its_own_data(installed, tmp_path):
    ask = f"from threetoe.machine.files import folder; print(*map(folder, {DATA}))"
    found = run_python("-c", ask, cwd=tmp_path, path=installed).split()
    assert found == [str(installed / "threetoe" / name) for name in DATA]


@pytest.mark.parametrize("kind", ["templates", "datasets"])
def test_an_installed_threetoe_lists_what_it_ships(installed, tmp_path, kind):
    listed = run_python("-m", "threetoe", kind, cwd=tmp_path, path=installed)
    for file in (ROOT / kind).glob("*.yaml"):
        assert re.search(rf"^{file.stem}\b", listed, re.MULTILINE), listed


@pytest.mark.parametrize("name", ["train", "infer", "export"])
def test_an_installed_command_is_its_script(installed, tmp_path, name):
    command = installed / "bin" / f"threetoe-{name}"
    shown = run_python(str(command), "--help", cwd=tmp_path, path=installed)
    script = run_python(str(ROOT / f"{name}.py"), "--help", cwd=tmp_path, path="")
    assert shown == script.replace(f"{name}.py", f"threetoe-{name}", 1)


def test_an_installed_train_trains_the_model_and_data_of_the_wheel(installed, tmp_path):
    command = installed / "bin" / "threetoe-train"
    run_python(str(command), "--max-steps", "1", cwd=tmp_path, path=installed)
    assert (tmp_path / "runs" / "sentiment-alpaca" / "run.json").is_file()


def test_data_folders_hold_no_code():
    folders = [ROOT / name for name in DATA if name != "examples"]
    assert not [path for folder in folders for path in folder.rglob("*.py")]


def test_import_datasets_finds_hugging_face():
    where = run_python("-c", "import datasets; print(datasets.__file__)", cwd=ROOT, path="").strip()
    assert ROOT / "datasets" not in Path(where).parents


def test_the_lock_pins_every_package():
    assert all(re.fullmatch(r"[\w.-]+==[\d.]+(post\d+)?", pin) for pin in pins())


def test_the_lock_holds_the_set_that_is_known_to_work():
    assert set(WORKING_SET) <= set(pins())


def test_the_lock_meets_every_range_of_setup_cfg():
    locked = dict(pin.split("==") for pin in pins())
    versions = {canonicalize_name(name): version for name, version in locked.items()}
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    lines = setup["options"]["install_requires"] + setup["options.extras_require"]["dev"]
    for requirement in map(Requirement, lines.split("\n")[1:]):
        assert requirement.specifier.contains(versions[canonicalize_name(requirement.name)])


def files(folder, root):
    """The files under a folder, as names below root, without byte code."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc")
    return [path.relative_to(root).as_posix() for path in found]


def pins():
    lines = (ROOT / "requirements" / "cpu.txt").read_text(encoding="utf-8").split("\n")
    return [line for line in lines if line and not line.startswith("#")]


def run_python(*arguments, cwd, path):
    """What Python prints with `path` first on its search path, the clone not on it."""
    ran = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(path)},
        capture_output=True,
        encoding="utf-8",
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout
