"""Plugin files and installed plugins for tests."""

import re
import sys

import pytest

from threetoe.hooks.load import load_plugins
from threetoe.options.train import TrainConfig


def hooks_of(*plugins, **options):
    """The hooks with these plugins named."""
    return load_plugins(TrainConfig(plugin=plugins, **options))


def timeless(text):
    """Text without the seconds that it tells."""
    return re.sub(r"\d+\.\d\d s", "N s", text)


def write(folder, **sources):
    """Plugin files, one for each name; the last one's name."""
    for name, source in sources.items():
        (folder / f"{name}.py").write_text(source, encoding="utf-8")
    return f"{name}.py"


@pytest.fixture(name="install")
def install_fixture(tmp_path, monkeypatch):
    """Installs a package with one module and an entry point, as pip would, for one test."""
    site = tmp_path / "site-packages"
    site.mkdir()
    monkeypatch.syspath_prepend(site)

    def installed(name, source, point=None):
        (site / f"{name}.py").write_text(source)
        info = site / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[threetoe]\n{name} = {point or name}\n")
        return name

    before = set(sys.modules)
    yield installed
    for name in set(sys.modules) - before:
        monkeypatch.delitem(sys.modules, name)
