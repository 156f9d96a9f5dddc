"""What an export needs, asked for before anything is touched: base, adapter, disk, memory, Hub."""

import re
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from hollow import write_adapter, write_base
from hub_server import hub_fixture, reread_environment  # noqa: F401  the fixture `hub`

from threetoe.errors import Checks, UserError
from threetoe.export.export import ExportJob
from threetoe.export.preflight import preflight, side_by_side
from threetoe.machine import space
from threetoe.options.export import ExportConfig

HUGE = {"hidden": 4096, "vocab": 2**28, "layers": 1}  # 4.4 TB in 16 bits


def a_plan(tmp_path, model, outputs=("merged",), adapter=None, **options) -> ExportJob:
    config = ExportConfig(**{"verify": False} | options)
    outputs = {name: tmp_path / f"out-{name}" for name in outputs}
    run = SimpleNamespace(options={"model": str(model), "load_in_4bit": False})
    folder = adapter or write_adapter(tmp_path / "adapter")
    return ExportJob(config, None, folder, run, None, outputs)


def problems(plan: ExportJob) -> list[str]:
    checks = Checks()
    checks(preflight, plan)
    return checks.problems


def test_an_export_with_everything_it_needs_is_let_through_and_nothing_is_written(tmp_path):
    base = write_base(tmp_path / "base")
    plan = a_plan(tmp_path, base, ["adapter", "merged", "merged-4bit", "gguf", "ollama"])
    before = sorted(tmp_path.rglob("*"))
    preflight(plan)
    assert sorted(tmp_path.rglob("*")) == before


def test_too_little_disk_is_said_with_both_numbers_and_what_mends_it(tmp_path):
    base = write_base(tmp_path / "base", **HUGE)
    adapter = write_adapter(tmp_path / "adapter", hidden=4096, layers=1)
    (problem,) = problems(a_plan(tmp_path, base, adapter=adapter))
    free = shutil.disk_usage(tmp_path).free / 1e9
    found = re.fullmatch(
        rf"--merged {tmp_path}/out-merged needs (.*) GB, (.*) GB are free on {tmp_path}; "
        "name a folder on another disk.",
        problem,
    )
    assert float(found[1]) == pytest.approx(4398 * 1.01, rel=0.01)
    assert float(found[2]) == pytest.approx(free, abs=2)


def test_outputs_on_one_disk_are_added_up(tmp_path):
    base = write_base(tmp_path / "base", **HUGE)
    adapter = write_adapter(tmp_path / "adapter", hidden=4096, layers=1)
    plan = a_plan(tmp_path, base, ["merged", "gguf"], adapter, gguf=("q8_0", "q4_0"))
    (problem,) = problems(plan)
    sizes = [float(n) for n in re.findall(r"([\d.]+) GB", problem)]
    assert sizes[0] + sizes[1] == pytest.approx(sizes[2], abs=0.2)
    assert sizes[1] == pytest.approx(sizes[0] * (8.5 + 6.5) / 16, rel=0.01)  # output: q8_0


def test_what_a_stopped_export_left_is_counted(tmp_path):
    base = write_base(tmp_path / "base", **HUGE)
    adapter = write_adapter(tmp_path / "adapter", hidden=4096, layers=1)
    plan = a_plan(tmp_path, base, adapter=adapter)
    assert "needs" in problems(plan)[0]
    write_base(tmp_path / "out-merged.partial", **HUGE | {"vocab": 2**29})  # more than is needed
    assert problems(plan) == []


def test_a_base_folder_that_is_cut_short_is_named(tmp_path):
    base = write_base(tmp_path / "base")
    (base / "model.safetensors").write_bytes((base / "model.safetensors").read_bytes()[:-1])
    (problem,) = problems(a_plan(tmp_path, base))
    assert "cut short" in problem


def test_an_adapter_of_another_base_is_refused_before_anything_is_merged(tmp_path):
    base = write_base(tmp_path / "base", hidden=32)
    (problem,) = problems(a_plan(tmp_path, base))
    assert "does not fit the base's" in problem


def test_an_adapter_alone_needs_no_base(tmp_path):
    assert problems(a_plan(tmp_path, "/nowhere/at/all", ["adapter"])) == []
    assert problems(a_plan(tmp_path, "/nowhere/at/all", ["adapter", "merged"])) != []


# Memory


def machine(root: Path, available=8, swap=0, groups=None) -> Path:
    """The files in which Linux says what memory there is, in GB; groups: path -> (max, current)."""
    (root / "proc/self").mkdir(parents=True)
    lines = f"MemTotal: 1 kB\nMemAvailable: {available * 10**6} kB\nSwapFree: {swap * 10**6} kB\n"
    (root / "proc/meminfo").write_text(lines, "utf-8")
    (root / "proc/self/cgroup").write_text("0::/box/inner\n", "utf-8")
    for name, (most, taken) in (groups or {}).items():
        folder = root / "sys/fs/cgroup" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "memory.max").write_text(f"{most}\n", "utf-8")
        (folder / "memory.current").write_text(f"{taken}\n", "utf-8")
        (folder / "memory.stat").write_text("anon 1\ninactive_file 1000\n", "utf-8")
    return root


def test_memory_is_what_the_machine_has_left_and_its_swap(tmp_path):
    assert space.available_memory(machine(tmp_path, 8, 2)) == 10 * 10**6 * 1024


def test_a_container_has_no_more_memory_than_its_limit(tmp_path):
    groups = {"box": (3 * 10**9, 10**9), "box/inner": ("max", 10**9)}
    assert space.available_memory(machine(tmp_path, groups=groups)) == 2 * 10**9 + 1000


def test_a_group_without_a_limit_limits_nothing(tmp_path):
    groups = {"box": ("max", 10**9), "box/inner": ("max", 10**9)}
    assert space.available_memory(machine(tmp_path, groups=groups)) == 8 * 10**6 * 1024


def test_a_system_that_does_not_say_is_not_judged(tmp_path):
    assert space.available_memory(tmp_path) is None


def test_this_machine_says_what_it_has():
    psutil = pytest.importorskip("psutil")
    there = psutil.virtual_memory().available + psutil.swap_memory().free
    assert 10**8 < space.available_memory() <= there * 1.2


def test_a_comparison_that_would_not_fit_into_memory_is_said_beforehand(tmp_path):
    base = write_base(
        tmp_path / "base", hidden=2**18, vocab=8, layers=1
    )  # 550 GB a layer in fp32, as much of what was written
    adapter = write_adapter(tmp_path / "adapter", hidden=2**18, layers=1)
    plan = a_plan(tmp_path, base, ["adapter", "merged"], adapter, verify=True)
    found = problems(plan)
    assert re.fullmatch(
        r"The comparison after the export needs 1\d\d\d\.\d GB of memory, .* are available; close "
        r"other programs, or leave it out with --no-verify\.",
        found[-1],
    )


# A base on the Hub


@pytest.fixture
def stored(hub, tmp_path):
    """The Hub with a base, `ada/base`."""
    folder = write_base(tmp_path / "original")
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    hub.add_repo("ada/base", files=files)
    return hub


def downloads(hub) -> int:
    return sum(method == "GET" and ".safetensors" in path for method, path, _ in hub.requests)


def test_a_base_that_can_be_downloaded_is_let_through_by_its_headers(stored, tmp_path):
    preflight(a_plan(tmp_path, "ada/base"))
    cache = tmp_path / "hf-home"
    assert not list(cache.rglob("*.safetensors"))


def test_an_adapter_that_does_not_fit_a_base_on_the_hub_is_refused(stored, tmp_path):
    adapter = write_adapter(tmp_path / "adapter", hidden=32)
    (problem,) = problems(a_plan(tmp_path, "ada/base", adapter=adapter))
    assert "does not fit the base's" in problem


def test_a_base_in_the_cache_is_not_asked_for_again(stored, tmp_path):
    from huggingface_hub import snapshot_download

    snapshot_download("ada/base")
    before = len(stored.requests)
    preflight(a_plan(tmp_path, "ada/base"))
    assert len(stored.requests) == before


def test_a_download_that_does_not_fit_on_the_disk_is_said(stored, tmp_path):
    stored.repos["ada/base"]["branches"]["main"][-1][1]["model.safetensors"]["size"] = 10**16
    (problem,) = problems(a_plan(tmp_path, "ada/base"))
    assert "the download of ada/base (10000000.0 GB)" in problem
    assert "set HF_HOME to a folder on another disk" in problem


def test_a_base_that_the_hub_does_not_have_is_named(hub, tmp_path):
    (problem,) = problems(a_plan(tmp_path, "ada/nothing"))
    assert problem.startswith("The Hub has no base ada/nothing") and "--base DIR" in problem


def test_a_gated_base_says_where_to_ask(stored, tmp_path):
    stored.repos["ada/base"]["gated"] = True
    (problem,) = problems(a_plan(tmp_path, "ada/base"))
    assert "ada/base is gated" in problem and f"{stored.endpoint}/ada/base" in problem


def test_a_base_without_safetensors_is_named(hub, tmp_path):
    hub.add_repo("ada/old", files={"config.json": b"{}", "pytorch_model.bin": b"1"})
    (problem,) = problems(a_plan(tmp_path, "ada/old"))
    assert "has no safetensors" in problem


def test_an_unreachable_hub_is_named_with_the_way_out(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    reread_environment()
    (problem,) = problems(a_plan(tmp_path, "ada/base"))
    assert "cannot be reached" in problem and "--base DIR" in problem


def test_offline_mode_is_named(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    reread_environment()
    (problem,) = problems(a_plan(tmp_path, "ada/base"))
    assert "HF_HUB_OFFLINE" in problem and "--base DIR" in problem


def test_a_hub_in_trouble_is_named(stored, tmp_path):
    stored.fail("GET", "/api/models/ada/base", 503)
    (problem,) = problems(a_plan(tmp_path, "ada/base"))
    assert "the Hub answers 503" in problem


def test_a_hub_that_never_answers_holds_nothing_up(stored, tmp_path, monkeypatch):
    monkeypatch.setattr("threetoe.export.preflight.SECONDS", 0.5)
    stored.fail("GET", "/api/", -3)
    began = time.monotonic()
    found = problems(a_plan(tmp_path, "ada/base", push="ada/model"))
    assert time.monotonic() - began < 5 and len(found) in (1, 2)  # one where both say the same
    assert all(re.search("cannot be reached|did not answer", problem) for problem in found)


def test_an_answer_that_drips_in_for_ever_is_not_waited_for():
    began = time.monotonic()
    answers = side_by_side({"slow": lambda: time.sleep(20), "fast": lambda: 1}, 0.2)
    with pytest.raises(UserError, match="did not answer within 0.2 seconds"):
        answers["slow"]()
    assert answers["fast"]() == 1 and time.monotonic() - began < 5


def test_base_and_token_are_asked_for_side_by_side_and_all_problems_come_together(
    stored, tmp_path, monkeypatch
):
    monkeypatch.setenv("HF_TOKEN", "hf_unknown")
    adapter = write_adapter(tmp_path / "adapter", hidden=32)
    found = problems(a_plan(tmp_path, "ada/base", adapter=adapter, push="ada/model"))
    assert len(found) == 2
    assert "does not fit" in found[0] and "refuses the token (401)" in found[1]


def test_the_hub_is_only_read(stored, tmp_path):
    preflight(a_plan(tmp_path, "ada/base", push="ada/model"))
    assert {method for method, _, _ in stored.requests} <= {"GET", "HEAD"}
