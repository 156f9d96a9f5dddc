"""What an export takes on the disk is said beforehand, and is what is written."""

from types import SimpleNamespace

import pytest
from gguf import GGUFReader
from gguf_run import random_run
from hollow import write_base
from hub_server import hub_fixture  # noqa: F401  the fixture `hub`
from quantizers_made import WIDE, put_program, without_ggml_fixture  # noqa: F401  a fixture
from tokenizers_made import KINDS
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from threetoe.errors import UserError
from threetoe.export.gguf.gguf import bytes_of_files, write_gguf
from threetoe.export.gguf.types import K_QUANTS, PLAIN
from threetoe.export.merge.base_weights import Base, find_base
from threetoe.export.merge.exporters import write_merged, write_merged_4bit
from threetoe.export.merge.merge import plan_merge
from threetoe.export.preflight import BESIDES, SLACK, plan_of, size_of
from threetoe.machine.records import read_json
from threetoe.options.export import ExportConfig


@pytest.fixture(scope="session", params=[False, True], ids=["untied", "tied"])
def made(request, tmp_path_factory):
    """A run's folder, its record, and its base's folder, 256 wide."""
    root = tmp_path_factory.mktemp("made")
    settings = {**WIDE, "tie_word_embeddings": request.param}
    folder, run, _ = random_run(root, "Llama", KINDS["llama3"](), **settings)
    return folder, run, root / "base"


def stated(name: str, base: Base, folder, **options) -> float:
    """Bytes that the preflight asks for, without what it adds for other files."""
    job = SimpleNamespace(config=ExportConfig(**options), folder=folder, is_trained=True)
    return (size_of(name, job, base, plan_of(base, job)) - BESIDES) / SLACK


@pytest.mark.parametrize("dtype", [None, "float16", "bfloat16", "float32"])
@pytest.mark.parametrize("name", ["merged", "merged-4bit"])
def test_a_merged_checkpoint_is_as_large_as_was_said(made, tmp_path, name, dtype):
    folder, run, base = made
    write = {"merged": write_merged, "merged-4bit": write_merged_4bit}[name]
    write(run, tmp_path, ExportConfig(run=folder, dtype=dtype))
    size = (tmp_path / "model.safetensors").stat().st_size
    wanted = stated(name, Base("base", base), folder, dtype=dtype)
    assert wanted == pytest.approx(size, rel=0.02)


@pytest.mark.parametrize("name", PLAIN + K_QUANTS)
def test_a_gguf_file_is_as_large_as_was_said(made, tmp_path, name):
    folder, run, base = made
    write_gguf(run, tmp_path, ExportConfig(run=folder, gguf=(name,)))
    file = tmp_path / f"base.{name}.gguf"
    size = file.stat().st_size - GGUFReader(file).data_offset
    wanted = stated("gguf", Base("base", base), folder, gguf=(name.upper(),))
    assert wanted == pytest.approx(size, rel=0.02)


def test_ollama_takes_one_file_and_gguf_all_of_them(made):
    folder, _, base = made
    types = ("q4_0", "f16")
    sizes = [stated("gguf", Base("base", base), folder, gguf=(name,)) for name in types]
    both = stated("gguf", Base("base", base), folder, gguf=types)
    assert both == pytest.approx(sum(sizes), abs=3)
    assert stated("ollama", Base("base", base), folder, gguf=types) == sizes[0]
    assert stated("ollama", Base("base", base), folder) != sizes[0]  # q8_0


def test_a_file_between_is_counted_once_where_llama_quantize_is_needed(made, without_ggml):
    folder, _, base = made
    put_program(without_ggml)
    plan, values = plan_merge(base, folder), read_json(base / "config.json")
    between = bytes_of_files(plan, values, ("bf16",))
    alone = bytes_of_files(plan, values, ("q4_k_m",))
    assert between < alone < 1.6 * between
    both = bytes_of_files(plan, values, ("q4_k_m", "q6_k"))
    six = bytes_of_files(plan, values, ("q6_k",))
    assert both == alone + six - between
    assert bytes_of_files(plan, values, ("q8_0",)) < between


def test_a_base_that_gguf_cannot_hold_is_said_before_it_is_downloaded(made, hub, tmp_path):
    folder = write_base(tmp_path / "base", model_type="gpt2")
    hub.add_repo("ada/base", files={path.name: path.read_bytes() for path in folder.iterdir()})
    (tmp_path / "scratch").mkdir()
    base = find_base("ada/base", tmp_path / "scratch", 5)
    job = SimpleNamespace(config=ExportConfig(gguf=("q8_0",)), folder=made[0], is_trained=True)
    with pytest.raises(UserError, match="gpt2 is not among what is written here"):
        size_of("gguf", job, base, plan_merge(made[2], made[0]))


@pytest.mark.parametrize(
    ("name", "options"),
    [("merged", {}), ("merged", {"dtype": "float32"}), ("merged-4bit", {}),
     *(("gguf", {"gguf": (kind,)}) for kind in ("q8_0", "q4_0", "q4_k_m", "q2_k"))],
)  # fmt: skip
def test_a_base_in_4_bits_on_the_hub_is_sized_as_when_it_is_here(
    made, hub, tmp_path, name, options
):
    asked = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype="bfloat16",
    )  # fmt: skip
    model = AutoModelForCausalLM.from_pretrained(
        made[2], dtype="bfloat16", quantization_config=asked
    )
    model.save_pretrained(tmp_path / "four")
    files = {path.name: path.read_bytes() for path in (tmp_path / "four").iterdir()}
    hub.add_repo("ada/four", files=files)
    (tmp_path / "scratch").mkdir()
    there = find_base("ada/four", tmp_path / "scratch", 5)
    assert there.hollow
    here = stated(name, Base("four", tmp_path / "four"), made[0], **options)
    assert stated(name, there, made[0], **options) == pytest.approx(here, rel=0.02)
