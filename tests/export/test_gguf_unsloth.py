"""GGUF files of other architectures, through Unsloth's exporter. Most of it needs llama.cpp's
source, which Unsloth looks for in ~/.unsloth/llama.cpp or UNSLOTH_LLAMA_CPP_PATH."""

import json
import shutil

import numpy as np
import pytest
import torch
from gguf import GGUFReader
from gguf_run import Server, random_run
from test_gguf_models import LONG, WRONG
from tokenizers_made import KINDS, LINES

from threetoe.errors import UserError
from threetoe.export.gguf import llama_cpp as gguf_unsloth
from threetoe.export.gguf import types as quantize
from threetoe.export.gguf.gguf import check_gguf, write_gguf
from threetoe.export.merge.merge import plan_merge
from threetoe.export.verify import verify
from threetoe.options.export import ExportConfig
from threetoe.run import contract

built = pytest.mark.skipif(
    not (quantize.llama_cpp_folder() / "convert_hf_to_gguf.py").is_file(),
    reason="needs llama.cpp's source",
)
quantizer = pytest.mark.skipif(not quantize.can_quantize_files(), reason="needs llama-quantize")
GEMMA2 = {"head_dim": 64, "query_pre_attn_scalar": 64, "sliding_window": 4096}
PHI3 = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 1}
CASES = {
    "gemma": (
        "Gemma2", ("q_proj", "v_proj"), ["<start_of_turn>", "<end_of_turn>", "\n", "▁▁"], GEMMA2,
    ),
    "phi3": ("Phi3", ("qkv_proj", "down_proj"), ["<|user|>", "<|assistant|>", "<|end|>"], PHI3),
}  # fmt: skip
TEXTS = ("Say hello to  the world.\n\nzß", "  two spaces", "a<end_of_turn>\nb")


def make_sentencepiece(folder, symbols):
    """Fill a folder with a tokenizer of Gemma's kind: tokenizer.model, and what transformers reads
    beside it."""
    import sentencepiece

    folder.mkdir()
    (folder / "text").write_text("\n".join("".join(LINES).split("\n")), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "text"), model_prefix=str(folder / "tokenizer"), model_type="bpe",
        vocab_size=700, hard_vocab_limit=False, byte_fallback=True, pad_id=0, eos_id=1, bos_id=2,
        unk_id=3, pad_piece="<pad>", eos_piece="<eos>", bos_piece="<bos>",
        user_defined_symbols=symbols,
        add_dummy_prefix=False, remove_extra_whitespaces=False, minloglevel=2,
        normalization_rule_name="identity",
    )  # fmt: skip
    config = {"tokenizer_class": "GemmaTokenizer", "bos_token": "<bos>", "eos_token": "<eos>"}
    config |= {"pad_token": "<pad>", "unk_token": "<unk>", "add_bos_token": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")


def a_run(root, template, **more):
    """A random run of a template's own architecture: folder, record, model, tokenizer."""
    from transformers import AutoTokenizer

    kind, trained, symbols, settings = CASES[template]
    make_sentencepiece(root / "tokenizer", symbols)
    tokenizer = AutoTokenizer.from_pretrained(root / "tokenizer")
    settings = {**settings, **more}
    folder, run, model = random_run(root, kind, tokenizer, template, trained, **settings)
    (root / "whole").mkdir()
    contract.write_folder(folder, run, tokenizer, root / "whole")
    shutil.copy(root / "tokenizer" / "tokenizer.model", root / "base")
    return root / "whole", run, model, tokenizer


def write(root, folder, run, *types):
    root.mkdir()
    config = ExportConfig(run=folder, gguf=types)
    check_gguf(run, folder, config)
    write_gguf(run, root, config)
    found = verify.verify(root, "gguf", run, config)
    return {name: root / f"base.{name}.gguf" for name in types}, found


def refused(tmp_path, monkeypatch, llama_cpp, **config):
    """What check_gguf says of a Gemma 2 run with llama.cpp in a folder."""
    folder, run, _ = random_run(tmp_path, "Gemma2", KINDS["llama2"](), **GEMMA2)
    monkeypatch.setenv("UNSLOTH_LLAMA_CPP_PATH", str(llama_cpp))
    monkeypatch.delenv("UNSLOTH_LLAMA_CPP_SCRIPTS_DIR", raising=False)
    with pytest.raises(UserError) as raised:
        check_gguf(run, folder, ExportConfig(run=folder, **config))
    (problem,) = raised.value.problems
    return problem


def test_without_llama_cpp_one_line_says_how_to_get_it(tmp_path, monkeypatch):
    problem = refused(tmp_path, monkeypatch, tmp_path / "none", gguf=("q8_0",))
    for part in (str(tmp_path / "none"), "git clone", "ggml-org/llama.cpp", "_LLAMA_CPP_PATH"):
        assert part in problem
    assert "\n" not in problem and not (tmp_path / "none").exists()


def test_a_folder_without_the_converter_is_refused_and_nothing_is_fetched(tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    problem = refused(tmp_path, monkeypatch, tmp_path / "empty", ollama=tmp_path / "out")
    assert "git clone" in problem and str(tmp_path / "empty") in problem and "\n" not in problem
    assert not list((tmp_path / "empty").iterdir())


def test_the_disk_check_counts_the_checkpoint_that_lies_beside(tmp_path):
    folder, *_ = random_run(tmp_path, "Gemma2", KINDS["llama2"](), **GEMMA2)
    plan = plan_merge(tmp_path / "base", folder)
    whole = sum(output.size for output in plan.outputs)
    numbers = sum(output.count for output in plan.outputs)
    f32 = gguf_unsloth.bytes_of_files(plan, ("f32",))
    assert f32 == whole + 2 * 4 * numbers
    both = gguf_unsloth.bytes_of_files(plan, ("f32", "q4_k_m"))
    assert both == int(f32 + whole + numbers * 8.5 / 8)


@built
@pytest.mark.parametrize("template", CASES)
def test_llama_cpp_computes_what_transformers_does(template, tmp_path):
    folder, run, model, tokenizer = a_run(tmp_path, template)
    files, found = write(tmp_path / "out", folder, run, "f32", "q8_0")
    assert found["passed"] and not found["warnings"]
    assert sorted((tmp_path / "out").iterdir()) == sorted(files.values())
    ids = np.random.default_rng(0).integers(9, len(tokenizer), LONG).tolist()
    model.set_attn_implementation("eager")  # transformers' sdpa leaves out Gemma 2's softcapping
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0, -1]
    ours = torch.log_softmax(logits, -1).numpy()
    server = Server(files["f32"])
    theirs = server.log_probabilities(ids, len(ours), tokenizer.convert_tokens_to_ids("a"))
    assert ours.std() > 0.5 and not np.isnan(theirs).any()
    assert np.abs(theirs - ours).max() < WRONG
    for text in TEXTS:
        assert server.ids(text) == tokenizer(text).input_ids


@built
@quantizer
@pytest.mark.parametrize("template", CASES)
def test_other_types_are_llama_cpps_own(template, tmp_path):
    wide = {"hidden_size": 256, "intermediate_size": 256}
    folder, run, *_ = a_run(tmp_path, template, **wide)
    files, found = write(tmp_path / "out", folder, run, "q4_0", "q4_k_m", "q6_k")
    assert found["passed"]
    kinds = {t.tensor_type.name for t in GGUFReader(files["q4_k_m"]).tensors}
    assert kinds == {"F32", "Q4_K", "Q6_K"}


@built
def test_a_file_has_the_runs_name_template_and_stops(tmp_path):
    folder, run, *_ = a_run(tmp_path, "gemma")
    files, _ = write(tmp_path / "out", folder, run, "q8_0")
    fields = {name: f.contents() for name, f in GGUFReader(files["q8_0"]).fields.items()}
    assert fields["general.name"] == "base" and fields["general.quantized_by"] == "Unsloth"
    stops = [fields[f"tokenizer.ggml.{name}_token_id"] for name in ("eot", "eos")]
    assert stops == run.stop_ids and fields["tokenizer.ggml.add_space_prefix"] is False
    assert "<start_of_turn>" in fields["tokenizer.chat_template"]


@built
def test_where_transformers_reads_no_such_file_that_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(CASES, "gemma", ("Gemma", *CASES["gemma"][1:3], {"head_dim": 64}))
    folder, run, *_ = a_run(tmp_path, "gemma")
    files, found = write(tmp_path / "out", folder, run, "q8_0")
    (warning,) = found["warnings"]
    assert found["passed"] and "its logits were not compared" in warning
    assert len(Server(files["q8_0"]).ids("hello")) > 1


@built
def test_an_architecture_that_the_converter_does_not_know_is_refused(tmp_path):
    config = {"model_type": "strange9", "architectures": ["Strange9ForCausalLM"]}
    with pytest.raises(UserError, match="knows no strange9 .Strange9ForCausalLM"):
        gguf_unsloth.check(config, ("q8_0",))


@built
def test_what_the_converter_says_when_it_fails_is_said(tmp_path):
    from threetoe.errors import Failure

    folder, run, _ = random_run(tmp_path, "Gemma2", KINDS["llama2"](), **GEMMA2)
    config = ExportConfig(run=folder, gguf=("q8_0",), verify=False)
    with pytest.raises(Failure, match="converter failed: FileNotFoundError.*tokenizer.model"):
        write_gguf(run, tmp_path, config)
    assert not list(tmp_path.glob("*.gguf"))
