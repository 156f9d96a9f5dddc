"""Whether what is installed goes together, judged from its metadata: nothing heavy is imported."""

from collections.abc import Iterator
from importlib import metadata
from typing import NamedTuple

from threetoe.machine.libraries import FIRST_WITH_CPU

ASKING = ("threetoe", "unsloth", "unsloth-zoo", "torchvision", "xformers")  # whose wishes count
HARMLESS = ("certifi",)  # unsloth asks for one that indexes may lack; it does without
NO_TORCHAO = "pip uninstall torchao: nothing here needs it"


class Finding(NamedTuple):
    """What was found of one thing; `mend` says what to do where something is wrong."""

    about: str
    said: str
    mend: str = ""
    stops: bool = False  # a training, an answer or an export


def installed(path: list[str] | None = None) -> dict[str, metadata.Distribution]:
    """The distributions on a path, or on Python's, by name; of two the first, as for imports."""
    from packaging.utils import canonicalize_name

    where = {"path": path} if path else {}
    found: dict[str, metadata.Distribution] = {}
    for one in metadata.distributions(**where):
        found.setdefault(canonicalize_name(one.metadata["Name"]), one)
    return found


def judge(found: dict, has_gpu: bool) -> Iterator[Finding]:
    """What does not go together, each with its mend."""
    known = list(known_pairs(found, has_gpu))
    yield from known
    yield from (one for one in unmet(found) if one.about not in {pair.about for pair in known})


def unmet(found: dict) -> Iterator[Finding]:
    """What the ASKING packages ask for and is of another version; what Threetoe asks for and is
    not there. Of what Unsloth asks for, --no-deps leaves out what is not needed here."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    for asking in filter(found.get, ASKING):
        for one in map(Requirement, found[asking].requires or ()):
            name = canonicalize_name(one.name)
            if name in HARMLESS or one.marker and not one.marker.evaluate({"extra": ""}):
                continue
            text, there = f"{one.name}{one.specifier}", found.get(name)
            wish = f"{asking} {found[asking].version} asks for {text}"
            if there is None and asking == "threetoe":
                yield Finding(one.name, f"not installed; {wish}", f"pip install '{text}'", True)
            elif there and not one.specifier.contains(there.version, prereleases=True):
                said = f"{there.version} is there; {wish}"
                yield Finding(one.name, said, f"pip install --no-deps '{text}'", True)


def known_pairs(found: dict, has_gpu: bool) -> Iterator[Finding]:
    """What no metadata says, and was seen to fail."""
    from packaging.version import Version

    version = {name: Version(one.version) for name, one in found.items()}
    torch, ao = version.get("torch"), version.get("torchao")
    if ao and ao < Version("0.16"):  # peft/import_utils.py, is_torchao_available
        yield Finding("torchao", f"{ao} is there; PEFT refuses one before 0.16", NO_TORCHAO, True)
    elif ao and ao >= Version("0.18") and torch and torch < Version("2.11"):
        # unslothai/notebooks, update_all_notebooks.py
        said = f"{ao} is there; it does not import beside torch {torch}, below 2.11"
        yield Finding("torchao", said, NO_TORCHAO, True)
    vision, unsloth = version.get("torchvision"), version.get("unsloth")
    if torch and vision and torch.local and torch.local != vision.local:
        # "operator torchvision::nms does not exist" when transformers imports it
        said = f"{vision} is there, of another build than torch {torch}"
        mend = "pip uninstall torchvision, or take both from the same index"
        yield Finding("torchvision", said, mend, True)
    if unsloth and unsloth < Version(FIRST_WITH_CPU) and not has_gpu:
        mend = f"pip install --no-deps unsloth=={FIRST_WITH_CPU} unsloth_zoo=={FIRST_WITH_CPU}"
        yield Finding("unsloth", f"{unsloth} is there; it needs a GPU", mend, True)
    if unsloth and unsloth != version.get("unsloth-zoo"):
        said = f"{unsloth} beside unsloth_zoo {version.get('unsloth-zoo', 'that is missing')}"
        mend = f"pip install --no-deps unsloth_zoo=={unsloth}"
        yield Finding("unsloth", said, mend, "unsloth-zoo" not in version)
    if not unsloth:
        mend = 'pip install -e ".[gpu]", or on a CPU make demo'
        yield Finding("unsloth", "not installed", mend, True)
