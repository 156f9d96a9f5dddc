"""The proof of an export: right ones pass, and each kind of wrong one is found."""

import json
import os
import re
import shutil
from dataclasses import replace
from itertools import accumulate

import pytest
import torch
from click.testing import CliRunner
from conftest import TINY
from hub_server import hub_fixture  # noqa: F401  the fixture `hub`
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch.profiler import ProfilerActivity, profile
from transformers import AutoModelForCausalLM, BitsAndBytesConfig
from transformers.models.llama.modeling_llama import LlamaMLP

import export
from threetoe.errors import Failure
from threetoe.export.gguf.gguf import write_gguf
from threetoe.export.merge.exporters import write_adapter, write_merged, write_merged_4bit
from threetoe.export.merge.merge import merge
from threetoe.export.merge.nf4 import as_used_in_4bit
from threetoe.export.verify.merged_weights import Sums
from threetoe.export.verify.progress import Progress
from threetoe.export.verify.reference import logits_of, logits_of_run, run
from threetoe.export.verify.tokens import asked
from threetoe.export.verify.verify import verify
from threetoe.export.verify.weights import Weights, load_whole
from threetoe.options.export import ExportConfig
from threetoe.run import record as runs
from threetoe.run.contract import load_tokenizer
from threetoe.run.probes import prompts_of

WEIGHTS = "model.safetensors"


@pytest.fixture(scope="session")
def written(three_steps, tmp_path_factory):
    """A run's folder, its record, and a folder with its adapter and merged exports."""
    folder, run = runs.load(three_steps)
    root = tmp_path_factory.mktemp("written")
    for name, write in (("adapter", write_adapter), ("merged", write_merged)):
        (root / name).mkdir()
        write(run, root / name, ExportConfig(run=folder))
    return folder, run, root


@pytest.fixture
def merged(written, tmp_path):
    """A copy of the merged export, to be damaged."""
    return shutil.copytree(written[2] / "merged", tmp_path / "merged")


def proof(written, folder, kind="merged", **options):
    return verify(folder, kind, written[1], ExportConfig(run=written[0], **options))


def problem(written, folder, kind="merged"):
    """The only problem of an export that must not pass."""
    found = proof(written, folder, kind)
    assert found["passed"] is False
    (line,) = found["problems"]
    return line


def change_json(path, **values):
    found = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(found | values), encoding="utf-8")


def test_a_merged_export_is_the_base_with_the_adapter(written):
    found = proof(written, written[2] / "merged")
    assert found["passed"] is True and found["problems"] == []
    assert found["weights"]["wrong"] == []
    assert found["weights"]["share"] == pytest.approx(1, abs=0.05)
    assert 0 < found["gap"]["mean"] < found["effect"]["mean"] / 4
    kept = 1 - found["gap"]["mean"] / found["effect"]["mean"]
    assert found["kept"] == pytest.approx(kept, abs=0.01)
    tokens = found["tokens"]
    assert tokens["same"] + tokens["different"] == tokens["positions"] > 8 * 8
    assert tokens["sure_different"] <= tokens["sure"] <= tokens["positions"]
    assert (found["prompts"], found["dtype"]) == (8, "bfloat16")


def test_a_model_filled_part_by_part_has_the_logits_of_the_whole(written):
    """Base + adapter and the base alone, which a sweep computes side by side; and the export."""
    base, adapter, merged = TINY, written[0], written[2] / "merged"
    sequences = [[1, *range(300, 300 + length)] for length in (40, 3, 17)]
    sums = Sums(Weights(merged).read, Weights(merged).dtype)
    progress = Progress(1, sequences)
    with torch.inference_mode():
        found = logits_of_run(base, adapter, as_used_in_4bit, sequences, sums.look, progress)
        found = (*found, logits_of(merged, sequences, progress))
        whole = load_whole(base, Weights(base, as_used_in_4bit))
        alone = run(whole, sequences)
        wanted = run(PeftModel.from_pretrained(whole, adapter).eval(), sequences)
        exported = run(load_whole(merged), sequences)
    for ours, theirs in zip(found, (wanted, alone, exported), strict=True):
        assert len(ours) == 32 + 4 + 18 and torch.allclose(ours, theirs, atol=1e-4)
    assert sums.wrong == []


@pytest.mark.gpu
def test_on_a_gpu_the_figures_are_those_of_the_cpu(written, monkeypatch):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA GPU")
    ours = proof(written, written[2] / "merged")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    theirs = proof(written, written[2] / "merged")
    assert ours["weights"] == theirs["weights"] and ours["tokens"] == theirs["tokens"]
    assert ours["kept"] == pytest.approx(theirs["kept"], abs=0.01)


def test_an_adapter_export_is_the_adapter_and_takes_no_model(written):
    """Its base need not be there."""
    run = replace(written[1], options={**written[1].options, "model": "ada/nowhere"})
    found = proof((written[0], run), written[2] / "adapter", "adapter")
    assert found["passed"] is True
    assert not found.keys() & {"gap", "kept"}


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_other_types_pass_and_are_named(written, tmp_path, dtype):
    config = ExportConfig(run=written[0], dtype=dtype)
    write_merged(written[1], tmp_path, config)
    found = verify(tmp_path, "merged", written[1], config)
    assert (found["passed"], found["dtype"]) == (True, dtype)


LOSES = "of what the adapter adds to the base's; the limit is 50%"


@pytest.mark.parametrize(
    ("kind", "factor", "said"),
    [
        ("merged", 0.3, "of the adapter's effect is kept: --rounding stochastic keeps more"),
        ("merged", 0.1, LOSES),
        ("merged-4bit", 1, LOSES),
    ],
)
def test_a_merge_that_loses_the_adapter_by_rounding_to_the_nearest_is_named(
    written, tmp_path, kind, factor, said
):
    """The adapter as a shorter training would have left it."""
    folder = shutil.copytree(written[0], tmp_path / "run")
    path = folder / "adapter_model.safetensors"
    save_file({n: t * factor if "lora_B" in n else t for n, t in load_file(path).items()}, path)
    write, found = {"merged": write_merged, "merged-4bit": write_merged_4bit}[kind], {}
    for rounding in ("stochastic", "nearest"):
        config = ExportConfig(run=folder, rounding=rounding)
        (tmp_path / rounding).mkdir()
        write(written[1], tmp_path / rounding, config)
        found[rounding] = verify(tmp_path / rounding, kind, written[1], config)
    assert found["stochastic"]["passed"] is True
    assert found["stochastic"]["weights"]["share"] == pytest.approx(1, abs=0.1)
    assert found["nearest"]["weights"]["share"] < 0.7
    (line,) = found["nearest"]["problems"] or found["nearest"]["warnings"]
    assert line.endswith(said)


def test_a_base_that_is_stored_in_4_bits_is_expanded(written, tmp_path):
    """A run on a 4-bit base, merged into its expanded weights."""
    base, out = tmp_path / "base", tmp_path / "out"
    quantised = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype="bfloat16",
    )  # fmt: skip
    model = AutoModelForCausalLM.from_pretrained(
        TINY, dtype=torch.bfloat16, quantization_config=quantised
    )
    model.save_pretrained(base)
    run = replace(written[1], options={**written[1].options, "model": str(base)})
    out.mkdir()
    write_merged(run, out, ExportConfig(run=written[0]))
    found = verify(out, "merged", run, ExportConfig(run=written[0]))
    assert found["passed"] is True and found["weights"]["wrong"] == []


@pytest.fixture(scope="session")
def gguf(written, tmp_path_factory):
    """A folder with GGUF files of three types, and how it was asked for."""
    folder = tmp_path_factory.mktemp("gguf")
    config = ExportConfig(run=written[0], gguf=("f16", "q8_0", "q4_0"))
    write_gguf(written[1], folder, config)
    return folder, config


def test_gguf_files_are_the_merged_weights_in_their_types(written, gguf):
    found = verify(gguf[0], "gguf", written[1], gguf[1])
    assert (found["passed"], found["problems"], len(found["files"])) == (True, [], 3)
    for one in found["files"].values():
        assert one["weights"]["wrong"] == [] and one["tokens"]["positions"] > 8 * 8


@pytest.mark.parametrize("name", ["token", "template", "stop", "weights", "length"])
def test_a_wrong_gguf_file_does_not_pass(written, gguf, tmp_path, name):
    """Bytes are changed in place, so that the file stays one that every reader takes."""
    (source,) = gguf[0].glob("*.f16.gguf")
    data = bytearray(source.read_bytes())
    (file,) = (tmp_path / source.name,)
    eos = b"tokenizer.ggml.eos_token_id" + (4).to_bytes(4, "little")
    changes = {
        "token": (b"<|eot_id|>", b"<|eot_no|>"),
        "template": (b"### Response:", b"###\nResponse:"),
        "stop": (eos + written[1].stop_ids[-1].to_bytes(4, "little"), eos + bytes([5, 0, 0, 0])),
        "weights": (bytes(data[-200_000:]), bytes(200_000)),
        "length": (bytes(data[-1000:]), b""),
    }
    old, new = changes[name]
    assert old in data
    file.write_bytes(data.replace(old, new))
    found = verify(tmp_path, "gguf", written[1], gguf[1])
    said = {
        "token": "its token", "template": "its chat template renders", "stop": "its stop ids are",
        "weights": "holds other numbers than", "length": "it cannot be read",
    }  # fmt: skip
    assert found["passed"] is False
    assert f"{file.name}: " in found["problems"][0] and said[name] in found["problems"][0]


def test_a_type_that_was_not_asked_for_is_found(written, merged):
    found = proof(written, merged, dtype="float16")
    assert found["passed"] is False
    assert found["problems"][0] == "it holds bfloat16, and --dtype asked for float16"


def test_the_base_without_the_adapter_does_not_pass(written, merged):
    shutil.copy(TINY / WEIGHTS, merged)
    found = proof(written, merged)
    assert found["passed"] is False
    assert "and so 27 more" in found["problems"][0]
    assert "hold 0% of what the adapter adds" in found["problems"][1]


def test_one_matrix_without_the_adapter_is_named(written, merged):
    name = "model.layers.1.mlp.up_proj.weight"
    tensors, base = load_file(merged / WEIGHTS), Weights(TINY, as_used_in_4bit)
    tensors[name] = base.read(name).bfloat16()
    save_file(tensors, merged / WEIGHTS, metadata={"format": "pt"})
    line = problem(written, merged)
    assert line == f"{name} holds other numbers than the two beside base + adapter"


def test_an_adapter_merged_twice_does_not_pass(written, merged, tmp_path):
    (tmp_path / "twice").mkdir()
    merge(merged, written[0], tmp_path / "twice")
    shutil.copy(tmp_path / "twice" / WEIGHTS, merged)
    found = proof(written, merged)
    assert found["passed"] is False
    assert "holds other numbers than the two beside base + adapter" in found["problems"][0]


def test_a_file_that_is_cut_short_does_not_pass(written, merged):
    os.truncate(merged / WEIGHTS, (merged / WEIGHTS).stat().st_size - 1000)
    assert "cut short" in problem(written, merged)


def test_a_tensor_that_is_missing_does_not_pass(written, merged):
    tensors = load_file(merged / WEIGHTS)
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, merged / WEIGHTS, metadata={"format": "pt"})
    assert "missing keys: model.layers.1.mlp.up_proj.weight" in problem(written, merged)


def test_a_logit_that_is_no_number_does_not_pass(written, merged):
    tensors = load_file(merged / WEIGHTS)
    tensors["model.norm.weight"][3] = torch.nan
    save_file(tensors, merged / WEIGHTS, metadata={"format": "pt"})
    found = proof(written, merged)
    assert found["passed"] is False
    assert "model.norm.weight holds other numbers" in found["problems"][0]
    assert found["problems"][1] == "its logits are not finite numbers"


def test_a_line_break_more_in_the_chat_template_does_not_pass(written, merged):
    path = merged / "chat_template.jinja"
    path.write_text(path.read_text("utf-8").replace("### Response:", "\n### Response:"), "utf-8")
    assert "the prompt has other ids than the run's from token" in problem(written, merged)


def test_ids_that_are_exchanged_do_not_pass(written, merged):
    """300 of tokens that no prompt has: the tokenizer's hash tells."""
    text = json.loads((merged / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = text["model"]["vocab"]
    folder, run, _ = written
    tokenizer = load_tokenizer(folder, run)
    conversations = asked(run, prompts_of(folder, run, tokenizer), tokenizer)
    used = {number for _, ids in conversations for number in ids}
    rare = [token for token, number in vocabulary.items() if number not in used][-300:]
    for one, other in zip(rare[::2], rare[1::2], strict=True):
        vocabulary[one], vocabulary[other] = vocabulary[other], vocabulary[one]
    (merged / "tokenizer.json").write_text(json.dumps(text), encoding="utf-8")
    said = "its tokenizer gives texts other ids than the run was trained with"
    assert problem(written, merged) == said


def test_a_folder_without_a_tokenizer_does_not_pass(written, merged):
    for path in merged.glob("tokenizer*"):
        path.unlink()
    assert "its tokenizer cannot be used" in problem(written, merged)


@pytest.mark.parametrize("name", ["generation_config.json", "config.json"])
def test_other_stop_ids_do_not_pass(written, merged, name):
    change_json(merged / name, eos_token_id=5)
    stops = written[1].stop_ids
    assert problem(written, merged) == f"the stop ids in {name} are [5], and the run's {stops}"


def test_an_adapter_export_with_other_weights_does_not_pass(written, tmp_path):
    folder = shutil.copytree(written[2] / "adapter", tmp_path / "adapter")
    path = folder / "adapter_model.safetensors"
    save_file({name: 2 * tensor for name, tensor in load_file(path).items()}, path)
    assert "the SHA-256 of its adapter_model.safetensors is" in problem(written, folder, "adapter")
    path.unlink()
    assert "it cannot be read" in problem(written, folder, "adapter")


def test_an_adapter_export_with_another_scale_does_not_pass(written, tmp_path):
    folder = shutil.copytree(written[2] / "adapter", tmp_path / "adapter")
    change_json(folder / "adapter_config.json", lora_alpha=64, base_model_name_or_path="x/y")
    said = problem(written, folder, "adapter")
    assert said == "lora_alpha in its adapter_config.json is 64, and the run's 16"


def test_an_adapter_without_effect_is_said(written, tmp_path):
    folder = shutil.copytree(written[0], tmp_path / "idle")
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    save_file({n: t * 0 if "lora_B" in n else t for n, t in tensors.items()}, path)
    (tmp_path / "out").mkdir()
    write_merged(written[1], tmp_path / "out", ExportConfig(run=folder))
    found = proof((folder, written[1]), tmp_path / "out")
    assert found["passed"] is True
    assert found["warnings"] == ["the adapter changes nothing"] and found["kept"] is None


def test_a_run_keeps_eight_of_its_rows_and_no_export_has_them(written):
    rows = (written[0] / "prompts.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 8 and len(set(rows)) == 8
    assert all(json.loads(row)[-1]["role"] == "assistant" for row in rows)
    assert not list(written[2].rglob("prompts.jsonl"))


def test_a_run_without_kept_rows_is_asked_our_own(written, tmp_path):
    folder = shutil.copytree(written[0], tmp_path / "older")
    (folder / "prompts.jsonl").unlink()
    found = proof((folder, written[1]), written[2] / "merged")
    assert (found["passed"], found["prompts"]) == (True, 8)


def test_a_short_list_of_kept_rows_is_filled_up(written, tmp_path):
    folder = shutil.copytree(written[0], tmp_path / "short")
    text = {"role": "text", "content": "Once upon a time there was a mouse."}
    ids = {"input_ids": [5, 6, 7, 8], "labels": [5, 6, 7, 8]}
    lines = [json.dumps([text]), json.dumps(ids)]
    (folder / "prompts.jsonl").write_text("\n".join(lines), encoding="utf-8")
    found = proof((folder, written[1]), written[2] / "merged")
    assert (found["passed"], found["prompts"]) == (True, 8)


def test_a_weight_is_compared_in_pieces_that_take_little_memory():
    sums, weight = Sums(None, lambda name: "bfloat16"), torch.ones(2**12, 2**12)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        sums.compare("lm_head.weight", weight, weight.clone(), weight)
        sums.compare("odd", weight, weight, weight + 1)
    events = [e for e in seen.profiler.kineto_results.events() if e.name() == "[memory]"]
    sizes = [e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())]
    assert max(accumulate(sizes)) < 4 * weight.nbytes
    assert sums.wrong == ["odd"] and sums.share is None


def test_memory_that_runs_out_in_the_proof_is_one_line_and_says_nothing_of_the_export(
    written, monkeypatch
):
    def full(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(LlamaMLP, "forward", full)
    with pytest.raises(Failure, match=r"Out of memory while .*--no-verify\)\.$"):
        proof(written, written[2] / "merged")


@pytest.fixture
def wrong(written, tmp_path, monkeypatch):
    """A run whose stop ids were changed by hand after it was trained, in the current folder."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(written[0], tmp_path / "run")
    change_json(tmp_path / "run" / "generation_config.json", eos_token_id=5)
    return tmp_path


def call(*args, code=0):
    done = CliRunner().invoke(export.main, [str(arg) for arg in args])
    assert done.exit_code == code, done.output
    return done.stderr


def test_a_wrong_export_is_put_aside_and_not_pushed(wrong, hub):
    said = call("--run", "run", "--merged", "out", "--push", "ada/wrong", code=1)
    (line,) = said.splitlines()
    assert "the stop ids in generation_config.json are [5]" in line and "out.failed" in line
    found = json.loads((wrong / "out.failed" / "verify.json").read_text(encoding="utf-8"))
    assert found["passed"] is False
    assert sorted(path.name for path in wrong.iterdir()) == ["out.failed", "run"]
    assert "ada/wrong" not in hub.repos


def test_a_wrong_adapter_is_not_pushed_either(wrong, hub):
    assert "stop ids" in call("--run", "run", "--push", "ada/wrong", code=1)
    assert "ada/wrong" not in hub.repos


def test_force_pushes_a_wrong_export_and_says_so(wrong, hub):
    said = call("--run", "run", "--merged", "out", "--push", "ada/forced", "--force")
    assert "WRONG, and kept by --force" in said and "stop ids" in said
    assert json.loads(hub.files("ada/forced")["verify.json"])["passed"] is False


def test_no_verify_says_so_in_the_folder(wrong):
    assert "not checked" in call("--run", "run", "--adapter", "out", "--no-verify")
    found = json.loads((wrong / "out" / "verify.json").read_text(encoding="utf-8"))
    assert found["passed"] is None


def test_the_line_says_what_was_compared(written, here):
    said = call("--run", written[0], "--merged", "out")
    assert said.startswith("merged written to out, checked: ")
    assert re.search(r"[\d.]+ % of the adapter's effect kept, \d+ of \d+ tokens the same", said)
