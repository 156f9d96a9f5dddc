"""A merge that is stopped anywhere leaves no shard that looks whole and is not, and goes on."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from merge_made import write_adapter, write_base
from safetensors.torch import load_file, save_file

from threetoe.errors import UserError
from threetoe.export.merge.merge import merge
from threetoe.export.merge.options import MergeOptions
from threetoe.export.merge.shards import PLAN

SIZE = 60_000  # bytes a shard, of which the base then fills three
KILLED = """
import os, signal, sys
from pathlib import Path
from threetoe.export.merge.merge import merge
from threetoe.export.merge.options import MergeOptions
limit = float(sys.argv.pop())
def progress(done, total):
    if done >= limit * total:
        os.kill(os.getpid(), signal.SIGKILL)
merge(*map(Path, sys.argv[1:]), MergeOptions(max_shard_size=60_000, progress=progress))
"""


@pytest.fixture
def folders(tmp_path):
    base = write_base(tmp_path / "base")
    for name in ("out", "clean"):
        (tmp_path / name).mkdir()
    return base, write_adapter(base, tmp_path / "adapter"), tmp_path / "out"


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.name != PLAN}


def kill_after(part: float, folders) -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", KILLED, *folders, str(part)], cwd=root)
    assert done.returncode == -signal.SIGKILL


def test_a_killed_merge_goes_on_at_its_next_shard(folders, tmp_path):
    base, adapter, out = folders
    merge(base, adapter, tmp_path / "clean", MergeOptions(max_shard_size=SIZE))
    shards = sorted(tmp_path.glob("clean/*.safetensors"))
    for part in (0.4, 1):  # the last one before its shard is closed
        kill_after(part, folders)
        whole = {file: file.stat().st_mtime_ns for file in out.glob("*.safetensors")}
        assert len(whole) < len(shards) == 4
        assert all((tmp_path / "clean" / file.name).read_bytes() == file.read_bytes()
                   for file in whole)  # fmt: skip
        assert not (out / "model.safetensors.index.json").exists()
    assert len(whole) == 3
    told = []
    merge(
        base,
        adapter,
        out,
        MergeOptions(max_shard_size=SIZE, progress=lambda done, _: told.append(done)),
    )
    assert bytes_of(out) == bytes_of(tmp_path / "clean")
    assert {file: file.stat().st_mtime_ns for file in whole} == whole
    assert told == sorted(told) and told[-1] == sum(len(b) for b in map(tensor_bytes, shards))


def tensor_bytes(file: Path) -> bytes:
    raw = file.read_bytes()
    return raw[8 + int.from_bytes(raw[:8], "little") :]


@pytest.mark.parametrize("changed", ["adapter", "base", "dtype", "max_shard_size"])
def test_a_different_merge_starts_anew(folders, tmp_path, changed):
    base, adapter, out = folders
    merge(base, adapter, out, MergeOptions(max_shard_size=SIZE))
    options = {"max_shard_size": SIZE}
    if changed == "adapter":
        file = adapter / "adapter_model.safetensors"
        save_file({name: 2 * tensor for name, tensor in load_file(file).items()}, file)
    elif changed == "base":
        file = base / "model.safetensors"
        save_file({k: v + 1 for k, v in load_file(file).items()}, file, {"format": "pt"})
    else:
        options |= {"dtype": "bfloat16"} if changed == "dtype" else {"max_shard_size": 10**9}
    merge(base, adapter, out, MergeOptions(**options))
    merge(base, adapter, tmp_path / "clean", MergeOptions(**options))
    assert bytes_of(out) == bytes_of(tmp_path / "clean")


def test_a_finished_merge_is_left_as_it_is(folders):
    *_, out = folders
    merge(*folders, MergeOptions(max_shard_size=SIZE))
    before = {file: file.stat().st_mtime_ns for file in out.glob("*.safetensors")}
    merge(*folders, MergeOptions(max_shard_size=SIZE))
    assert {file: file.stat().st_mtime_ns for file in out.glob("*.safetensors")} == before


def test_a_shard_that_was_damaged_since_is_written_again(folders, tmp_path):
    *pair, out = folders
    merge(*folders, MergeOptions(max_shard_size=SIZE))
    os.truncate(out / "model-00002-of-00004.safetensors", 5000)
    merge(*folders, MergeOptions(max_shard_size=SIZE))
    merge(*pair, tmp_path / "clean", MergeOptions(max_shard_size=SIZE))
    assert bytes_of(out) == bytes_of(tmp_path / "clean")


def test_a_folder_with_files_of_another_origin_is_left_alone(folders):
    *_, out = folders
    for name in ("model.safetensors.index.json", "model.safetensors"):
        (out / name).write_bytes(b"mine")
        with pytest.raises(FileExistsError, match=f"{name} exists already"):
            merge(*folders)
        assert bytes_of(out) == {name: b"mine"}
        (out / name).unlink()


@pytest.mark.parametrize("limit", [100, 5000, 60_000], ids=["header", "tensors", "end"])
def test_a_full_disk_leaves_no_shard_and_a_later_call_goes_on(folders, tmp_path, limit):
    *pair, out = folders
    before, threads = resource.getrlimit(resource.RLIMIT_FSIZE), torch.get_num_threads()
    resource.setrlimit(resource.RLIMIT_FSIZE, (max(limit, 1000), before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            merge(*pair, out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (set(bytes_of(out)), torch.get_num_threads()) == (set(), threads)
    merge(*pair, out)
    merge(*pair, tmp_path / "clean")
    assert bytes_of(out) == bytes_of(tmp_path / "clean")


def test_a_base_that_shrinks_meanwhile_is_named_and_nothing_looks_whole(folders):
    base, adapter, out = folders

    def progress(done, total):
        os.truncate(base / "model.safetensors", 1000)

    with pytest.raises(UserError, match="ended early"):
        merge(base, adapter, out, MergeOptions(progress=progress))
    assert set(bytes_of(out)) == set()
