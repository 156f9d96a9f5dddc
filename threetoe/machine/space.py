"""How much disk and memory an export takes, and how much there is."""

import math
import shutil
import sys
from pathlib import Path

from threetoe.machine.libraries import has_gpu
from threetoe.machine.terminal import shown


def place_of(path: Path) -> Path:
    """The path, or the folder above it that exists."""
    path = path.expanduser().absolute()
    while not path.exists():
        path = path.parent
    return path


def bytes_in(folder: Path) -> int:
    """What a folder holds already; 0 when there is none."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def disk_problems(wanted: list[tuple[str, Path, int, str]]) -> list[str]:
    """A line for each file system without the room for what goes there.

    `wanted` has what it is (--merged /x), where, its bytes, and what mends it.
    """
    disks: dict[int, list] = {}
    for entry in wanted:
        disks.setdefault(place_of(entry[1]).stat().st_dev, []).append(entry)
    problems = []
    for entries in disks.values():
        place, needed = place_of(entries[0][1]), sum(entry[2] for entry in entries)
        free = shutil.disk_usage(place).free
        if needed <= free:
            continue
        whats = [entry[0] for entry in entries]
        if len(entries) > 1:
            whats = [f"{entry[0]} ({shown(entry[2])})" for entry in entries]
        problems.append(
            f"{' and '.join(whats)} {'needs' if len(whats) == 1 else 'need'} {shown(needed)}, "
            f"{shown(free)} are free on {place}; {max(entries, key=lambda e: e[2])[3]}."
        )
    return problems


def available_memory(root: Path = Path("/")) -> int | None:
    """Bytes a process may still take: what the machine has left, swap included, or the tightest
    container around it (cgroup v2, then v1); None where the system does not say."""
    try:
        lines = (root / "proc/meminfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    stated = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if ":" in line}
    if "MemAvailable" not in stated:
        return None
    return min(stated["MemAvailable"] + stated.get("SwapFree", 0), container_room(root))


def container_room(root: Path) -> float:
    """What the limits of control groups leave; infinity without one. Page cache that can be
    dropped counts as free: docs.kernel.org/admin-guide/cgroup-v2.html."""
    top = root / "sys/fs/cgroup"
    groups = [(top / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes")]
    group = top / own_group(root).lstrip("/")
    while group.is_relative_to(top):
        groups.append((group, "memory.max", "memory.current"))
        group = group.parent
    room = math.inf
    for folder, limit, used in groups:
        try:
            most, taken = ((folder / name).read_text("utf-8").strip() for name in (limit, used))
            stat = dict(map(str.split, (folder / "memory.stat").read_text("utf-8").splitlines()))
        except OSError:  # a group without such files limits nothing
            continue
        if most.isdigit():
            room = min(room, int(most) - int(taken) + int(stat.get("inactive_file", 0)))
    return room


def own_group(root: Path) -> str:
    """The path of this process's group in cgroup v2, '' where there is none."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line[3:] for line in lines if line.startswith("0::")), "")


def peak_memory() -> int:
    """The most bytes that this process has held: of the GPU's memory, or without one of the
    machine's."""
    if has_gpu():
        import torch

        return torch.cuda.max_memory_reserved()
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # getrusage(2): kilobytes, on macOS bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
