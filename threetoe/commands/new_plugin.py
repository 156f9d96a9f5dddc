"""python -m threetoe plugins new: a copy of the example package, under another name."""

import re
from pathlib import Path

from threetoe.errors import UserError
from threetoe.machine.files import folder

EXAMPLE = "hello"
PACKAGE = "threetoe-plugin-{}"  # the folder too; the module has underscores
FILES = ["pyproject.toml", "README.md", "threetoe_plugin_hello.py"]
FILES += ["tests/test_threetoe_plugin_hello.py"]
NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
LONGEST = 60  # characters; a folder, a module and a test file are named after it


def write_plugin(name: str) -> list[Path]:
    """Make ./threetoe-plugin-NAME; the files that were written. UserError when the name cannot be
    a package's, or the folder exists."""
    check_name(name)
    source, target = folder("examples") / PACKAGE.format(EXAMPLE), Path(PACKAGE.format(name))
    if target.exists() or target.is_symlink():
        raise UserError(f"{target} exists already; move it away or choose another name.")
    written = []
    for place in FILES:
        path = target / rename(place, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        text = rename((source / place).read_text(encoding="utf-8"), name)
        path.write_text(text, encoding="utf-8", newline="\n")
        written.append(path)
    return written


def rename(text: str, name: str) -> str:
    """A text of the example with the plugin's name for the example's: as package, as module, and
    as the entry point."""
    package, ours = PACKAGE.format(EXAMPLE), PACKAGE.format(name)
    text = text.replace(package, ours).replace(package.replace("-", "_"), ours.replace("-", "_"))
    return re.sub(rf"^{EXAMPLE} = ", f"{name} = ", text, flags=re.MULTILINE)


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
