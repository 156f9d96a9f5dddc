"""--new-tokens: special tokens that the base lacks, from training to the merged checkpoint."""

import json
from pathlib import Path

import pytest
import torch
from conftest import run_script
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from tokenizers_made import KINDS
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
)

from threetoe.backend import model as backend
from threetoe.backend import token_rows
from threetoe.backend.adapter import rows_of_adapter
from threetoe.errors import UserError
from threetoe.export import export
from threetoe.export.merge.merge import merge
from threetoe.export.merge.options import MergeOptions
from threetoe.machine import files as catalog
from threetoe.machine.libraries import load_unsloth
from threetoe.options.export import ExportConfig
from threetoe.options.train import TrainConfig
from threetoe.prompt import new_tokens as tokens
from threetoe.prompt.encode import encode, prompt_ids
from threetoe.prompt.from_tokenizer import from_tokenizer
from threetoe.prompt.template_file import read_template
from threetoe.prompt.tokenizer import marks_of, with_cuts
from threetoe.prompt.tokenizer_template import of_fields
from threetoe.run import contract
from threetoe.run import record as runs
from threetoe.train.train import train

TEMPLATES = catalog.named_files("templates")
EMBEDDINGS = ["model.embed_tokens.weight", "lm_head.weight"]
ROWS = [{"prompt": f"Say {n}.", "completion": f"It is {n}."} for n in range(4)]
# After training: what the model says of every token, without the bf16 of the trainer's forward.
KEEP_LOGITS = """
import torch
def after_train(trainer, folder):
    ids = torch.arange(len(trainer.processing_class)).view(1, -1)
    with torch.no_grad():
        logits = trainer.model.eval().base_model.model(ids).logits
    torch.save(logits, folder.parent / "logits.pt")
"""


def write_base(folder: Path, tokenizer, rows=None, tied=False, dtype=torch.bfloat16) -> Path:
    """A small Llama with random weights, and its tokenizer."""
    torch.manual_seed(0)
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "num_hidden_layers": 2}
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=rows or len(tokenizer), hidden_size=64, intermediate_size=96,
            tie_word_embeddings=tied, max_position_embeddings=512, **heads,
        )
    )  # fmt: skip
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    model.to(dtype).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def read(folder: Path, rows: int = 0, dtype=torch.bfloat16):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    if rows:
        model.resize_token_embeddings(rows)
    return model


def weights(folder: Path) -> dict:
    return load_file(folder / "model.safetensors")


def chatml():
    return read_template(TEMPLATES["chatml"])


class Trained:
    """A run on a small base: 8 steps, its folder, its base, and the logits when it was done."""

    def __init__(self, root: Path, kind: str, choice: str, **base):
        self.base = write_base(root / "base", KINDS[kind](), **base)
        (root / "rows.json").write_text(json.dumps(ROWS), encoding="utf-8")
        (root / "keep.py").write_text(KEEP_LOGITS, encoding="utf-8")
        load_unsloth()
        train(
            TrainConfig(
                dataset=str(root / "rows.json"), template="chatml", new_tokens=choice,
                model=str(self.base), load_in_4bit=False, max_seq_length=128, max_steps=8,
                learning_rate=5e-3, warmup_steps=0, gradient_accumulation_steps=1,
                output_dir=root / "run", plugin=(str(root / "keep.py"),),
            )
        )  # fmt: skip
        self.folder, self.run = runs.load(root / "run")
        self.logits = torch.load(root / "logits.pt")
        self.tokenizer = AutoTokenizer.from_pretrained(self.folder)
        self.ids = torch.arange(len(self.tokenizer)).view(1, -1)
        self.rows = rows_of_adapter(self.folder)


CASES = {
    "add": ("gpt2", "add", {}),
    "add, tied": ("gpt2", "add", {"tied": True}),
    "add, padded vocabulary": ("gpt2", "add", {"rows": 640}),
    "reserved": ("llama3", "reserved", {}),
    "reserved, tied": ("llama3", "reserved", {"tied": True}),
}


@pytest.fixture(scope="module", params=CASES)
def trained(request, tmp_path_factory):
    kind, choice, base = CASES[request.param]
    return Trained(tmp_path_factory.mktemp("trained"), kind, choice, **base)


@pytest.fixture(scope="module")
def merged(trained, tmp_path_factory):
    target = tmp_path_factory.mktemp("merged") / "merged"
    export.export(ExportConfig(run=trained.folder, merged=target, base_weights="16bit"))
    return target


def grown(trained) -> int:
    """Rows that the base must get, or 0."""
    held = AutoConfig.from_pretrained(trained.base).vocab_size
    return trained.run.vocab_size if trained.rows > held else 0


def test_the_tokens_rows_have_learned_and_no_other_row_has_changed(trained, merged):
    before, after = weights(trained.base), weights(merged)
    template = trained.run.the_template()
    ids = [trained.tokenizer.convert_tokens_to_ids(t) for t in template.special_tokens]
    assert len(set(ids)) == 2
    assert None not in ids
    for name in set(EMBEDDINGS) & before.keys():
        held = len(before[name])
        changed = (before[name] != after[name][:held]).any(dim=1).nonzero()[:, 0].tolist()
        assert changed == [row for row in ids if row < held]
        first, second = (after[name][row] for row in ids)
        assert not torch.equal(first, second)  # both started at the mean
        mean = before[name].float().mean(dim=0)
        assert (first.float() - mean).abs().max() > 1e-3


def test_the_adapter_holds_single_rows_in_fp32_and_no_matrix(trained):
    adapter = load_file(trained.folder / "adapter_model.safetensors")
    deltas = {name: t for name, t in adapter.items() if "lora_" not in name}
    tied = AutoConfig.from_pretrained(trained.base).tie_word_embeddings
    assert len(deltas) == (1 if tied else 2)
    assert all("trainable_tokens_delta" in name for name in deltas)
    assert {t.dtype for t in adapter.values()} == {torch.float32}
    assert max(len(t) for t in deltas.values()) <= 64
    assert not list(trained.folder.glob("*.bin"))


def test_infer_loads_what_training_ended_with(trained):
    model = backend.load_model(trained.run.the_config(), trained.folder)
    token_rows.put_in_place(model, trained=True)
    assert token_rows.find_layers(model) == []
    with torch.no_grad():
        assert torch.equal(model.base_model.model(trained.ids).logits, trained.logits)


def test_without_the_adapter_the_rows_are_the_bases(trained):
    model = backend.load_model(trained.run.the_config(), trained.folder)
    token_rows.put_in_place(model, trained=False)
    base = read(trained.base)
    held = base.config.vocab_size
    ids = trained.ids[:, :held]
    with torch.no_grad(), model.disable_adapter():
        assert torch.equal(model(ids).logits[..., :held], base(ids).logits)


def test_plain_peft_gives_the_same_logits(trained):
    model = PeftModel.from_pretrained(read(trained.base, grown(trained)), trained.folder).eval()
    with torch.no_grad():
        assert torch.equal(model(trained.ids).logits, trained.logits)


def test_unsloth_generates_what_plain_peft_generates(trained):
    template, marks = trained.run.the_template(), trained.run.the_marks()
    prompt = template.prompt([{"role": "user", "content": "Say 1."}], marks)
    ids = torch.tensor([prompt_ids(prompt, trained.tokenizer)])
    ours = backend.load_model(trained.run.the_config(), trained.folder)
    token_rows.put_in_place(ours, trained=True)
    plain = PeftModel.from_pretrained(read(trained.base, grown(trained)), trained.folder).eval()
    asked = {"max_new_tokens": 6, "do_sample": False, "output_logits": True}
    found, expected = (
        model.generate(input_ids=ids, return_dict_in_generate=True, **asked)
        for model in (ours, plain)
    )
    assert torch.equal(found.sequences, expected.sequences)
    assert len(found.logits) > 1
    assert all(map(torch.equal, found.logits, expected.logits))


def test_plain_transformers_reads_the_merged_model(trained, merged):
    model = AutoModelForCausalLM.from_pretrained(merged, dtype="auto")
    tied = AutoConfig.from_pretrained(trained.base).tie_word_embeddings
    assert (model.lm_head.weight is model.model.embed_tokens.weight) == tied
    assert ("lm_head.weight" in weights(merged)) != tied
    assert len(model.lm_head.weight) == model.config.vocab_size >= len(trained.tokenizer)
    tokenizer = AutoTokenizer.from_pretrained(merged)
    assert tokenizer.get_vocab() == trained.tokenizer.get_vocab()
    with torch.no_grad():  # the sum of base and LoRA was rounded to bf16
        assert (model(trained.ids).logits - trained.logits).abs().max() < 0.1


def test_the_merge_equals_pefts_bit_for_bit(trained, tmp_path):
    """In fp32, of the weights as they are in a base of as many rows."""
    merge(
        trained.base, trained.folder, tmp_path, MergeOptions(dtype="float32", max_shard_size=90_000)
    )
    found = {k: v for f in tmp_path.glob("*.safetensors") for k, v in load_file(f).items()}
    base = read(trained.base, grown(trained), torch.float32)
    expected = PeftModel.from_pretrained(base, trained.folder).merge_and_unload().state_dict()
    assert found.keys() == weights(trained.base).keys()
    for name, tensor in found.items():
        assert torch.equal(tensor, expected[name]), name


def test_training_inference_and_apply_chat_template_give_the_same_ids(trained):
    template, marks = trained.run.the_template(), trained.run.the_marks()
    tokenizer = trained.tokenizer
    text = f"x <|im_start|> {template.eos} y"  # a user's own text never becomes a mark
    messages = [{"role": "user", "content": text}]
    ours = prompt_ids(template.prompt(messages, marks), tokenizer)
    theirs = tokenizer.apply_chat_template(messages, add_generation_prompt=True)["input_ids"]
    assert ours == theirs
    start, end = (tokenizer.convert_tokens_to_ids(t) for t in template.special_tokens)
    assert (ours.count(start), ours.count(end)) == (2, 1)
    answer = [*messages, {"role": "assistant", "content": "ok"}]
    (row,) = encode([template.pieces(answer, marks)], tokenizer, 1000)
    assert row.input_ids[: len(ours)] == ours
    assert row.labels[-1] == end == trained.run.stop_ids[0]


def test_the_card_says_how_plain_peft_loads_an_adapter_with_more_rows(trained, tmp_path):
    export.export(ExportConfig(run=trained.folder, adapter=tmp_path / "adapter"))
    card = (tmp_path / "adapter" / "README.md").read_text(encoding="utf-8")
    assert (f"resize_token_embeddings({trained.rows})" in card) == bool(grown(trained))
    assert (f"resize_model_vocab={trained.rows}" in card) == bool(grown(trained))


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    """The tiny model with ChatML's tokens added, taught 20 answers by the scripts."""
    root = tmp_path_factory.mktemp("scripts")
    kinds = {
        "a colour": "red blue green black white yellow pink",
        "a number": "one two three four five six seven",
        "an animal": "dog cat horse cow bird fish",
    }
    rows = [
        {"prompt": f"What is {word}?", "completion": f"It is {kind}."}
        for kind, words in kinds.items() for word in words.split()
    ]  # fmt: skip
    (root / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
    flags = ["--max-steps", 60, "--learning-rate", "5e-3", "--gradient-accumulation-steps", 1]
    said = run_script(
        "train.py", "--dataset", "rows.json", "--template", "chatml", "--new-tokens", "add",
        "--per-device-train-batch-size", 20, *flags, "--output-dir", "run", cwd=root,
    )  # fmt: skip
    run_script("infer.py", "--run", "run", "--file", "rows.json", "--output", "a.jsonl", cwd=root)
    run_script("export.py", "--run", "run", "--merged", "merged", cwd=root)
    return root, rows, said.stderr


def test_the_scripts_teach_tokens_of_their_own_that_end_every_answer(scripts):
    root, rows, said = scripts
    assert len(rows) == 20
    assert "chatml: <|im_start|> is new, <|im_end|> is new" in said
    assert "grows from 2,048 to 2,112 rows" in said
    lines = (root / "a.jsonl").read_text(encoding="utf-8").splitlines()
    answers = {line["prompt"]: line["answer"] for line in map(json.loads, lines)}
    assert answers == {row["prompt"]: row["completion"] for row in rows}


def test_compared_in_one_call_the_bases_side_has_the_bases_rows(scripts):
    root, _, _ = scripts
    flags = ["--run", "run", "--file", "rows.json", "--max-new-tokens", 6]
    run_script("infer.py", *flags, "--compare-base", "--output", "both.jsonl", cwd=root)
    run_script("infer.py", *flags, "--no-adapter", "--output", "base.jsonl", cwd=root)
    both, base, run = (
        [json.loads(line) for line in (root / name).read_text(encoding="utf-8").splitlines()]
        for name in ("both.jsonl", "base.jsonl", "a.jsonl")
    )
    assert [row["base"] for row in both] == [row["answer"] for row in base]
    assert [row["answer"] for row in both] == [row["answer"] for row in run]
    assert [row["base"] for row in both] != [row["answer"] for row in both]


def test_plain_transformers_gives_infers_answers_ended_by_the_new_token(scripts):
    root, rows, _ = scripts
    tokenizer = AutoTokenizer.from_pretrained(root / "merged")
    model = AutoModelForCausalLM.from_pretrained(root / "merged", dtype="auto")
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert end == 2049
    for row in rows:
        inputs = tokenizer.apply_chat_template(
            [{"role": "user", "content": row["prompt"]}], add_generation_prompt=True,
            return_dict=True, return_tensors="pt",
        )  # fmt: skip
        output = model.generate(**inputs, max_new_tokens=30, do_sample=False)
        answer = output[0, inputs["input_ids"].shape[1] :].tolist()
        assert answer[-1] == end
        assert tokenizer.decode(answer, skip_special_tokens=True) == row["completion"]


def test_text_says_that_marks_are_learned_as_text(tmp_path):
    said = run_script("train.py", "--template", "chatml", "--dry-run", cwd=tmp_path).stderr
    assert (
        "chatml: <|im_start|>, <|im_end|> are no tokens of tiny and are learned as plain text "
        "(--new-tokens reserved or add trains tokens for them)\n"
    ) in said
    assert "no tokens of" not in run_script("train.py", "--dry-run", cwd=tmp_path).stderr


def prepared(kind: str, choice: str, held=None, name="chatml", **options):
    tokenizer = with_cuts(KINDS[kind]())
    config = TrainConfig(new_tokens=choice, model="base", **options)
    held = held or tokens.rows_needed(tokenizer)
    return tokenizer, *tokens.arrange(read_template(TEMPLATES[name]), tokenizer, config, held)


def test_reserved_tokens_are_written_into_the_template():
    tokenizer, template, rows, line = prepared("llama3", "reserved")
    first, second = "<|reserved_special_token_0|>", "<|reserved_special_token_1|>"
    assert template.special_tokens == (first, second)
    assert template.roles["user"] == f"{first}user\n{{content}}{second}\n"
    assert (template.eos, template.stop) == (second, (first,))
    assert rows.trained == rows.fresh == tuple(tokenizer.convert_tokens_to_ids([first, second]))
    assert "<|im_start|>" not in tokenizer.get_vocab()
    assert line.startswith(
        f"chatml: <|im_start|> is {first}, <|im_end|> is {second}, the rows of 2 tokens"
    )
    assert of_fields(json.loads(json.dumps(vars(template)))) == template


def test_a_run_with_reserved_tokens_is_asked_with_the_template_that_it_was_trained_with():
    _, template, _, _ = prepared("llama3", "reserved")
    assert contract.spelt_as(template, chatml()).roles == template.roles
    assert contract.spelt_as(template, read_template(TEMPLATES["gemma"])).roles != template.roles


def test_a_reserved_token_that_pads_is_left_alone():
    tokenizer = with_cuts(KINDS["llama3"]())
    tokenizer.pad_token = "<|reserved_special_token_0|>"
    found = tokens.reserved_for(["<|im_start|>"], chatml(), tokenizer, "base", 10_000)
    assert found == {"<|im_start|>": "<|reserved_special_token_1|>"}


@pytest.mark.parametrize("choice", ["add", "reserved"])
def test_tokens_that_the_base_has_are_trained_and_keep_what_they_know(choice):
    tokenizer, template, rows, line = prepared("llama3", choice, name="llama3")
    assert template == read_template(TEMPLATES["llama3"])
    assert rows.trained == tuple(sorted(tokenizer.convert_tokens_to_ids(template.special_tokens)))
    assert (rows.fresh, rows.total) == ((), rows.held)
    assert line == "llama3: the rows of 3 tokens are trained"


@pytest.mark.parametrize(
    ("held", "needed", "total"),
    [(128, 128, 128), (151936, 151667, 151936), (128256, 128258, 128320), (2040, 2041, 2048),
     (32001, 32003, 32003)],
)  # fmt: skip
def test_a_model_grows_by_its_own_multiple(held, needed, total):
    assert tokens.grown(held, needed) == total


@pytest.mark.parametrize(
    ("kind", "choice", "options", "named"),
    [
        ("gpt2", "reserved", {}, "needs 2 reserved tokens and base has 0"),
        ("gpt2", "text", {"held": 400}, "--new-tokens add makes rows for the others"),
        ("gpt2", "add", {"target_modules": ("q_proj", "lm_head")}, "--target-modules lm_head"),
    ],
)
def test_what_cannot_be_is_refused_with_the_flag_that_mends_it(kind, choice, options, named):
    with pytest.raises(UserError, match=named):
        prepared(kind, choice, **options)


def test_tokens_of_the_base_without_rows_get_them():
    tokenizer, _, rows, _ = prepared("gpt2", "add", held=400)
    assert rows.total == 424 == -(-len(tokenizer) // 8) * 8
    assert set(range(400, rows.total)) <= set(rows.trained)


def test_a_template_in_plain_text_trains_no_rows():
    _, _, rows, line = prepared("gpt2", "add", name="alpaca")
    assert rows is None
    assert line == "alpaca uses no special tokens: no rows are trained"


@pytest.mark.parametrize("choice", ["add", "reserved"])
def test_the_tokens_of_a_bases_own_chat_template_are_trained(choice):
    tokenizer = with_cuts(KINDS["llama3"]())
    tokenizer.chat_template = (
        "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>"
        "{{ m.content }}<|eot_id|>{% endfor %}"
        "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>{% endif %}"
    )
    own = from_tokenizer(tokenizer, marks_of(tokenizer), "base")
    config = TrainConfig(new_tokens=choice, model="base")
    template, rows, _ = tokens.arrange(own, tokenizer, config, tokens.rows_needed(tokenizer))
    assert template == own
    names = tokenizer.convert_ids_to_tokens(rows.trained)
    assert names == ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]


def peft_model(rows=(5, 7), zero=(), tied=False, dtype=torch.float32, **options):
    """A small model that trains single rows, before Unsloth or we have touched it."""
    torch.manual_seed(0)
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "num_hidden_layers": 2}
    sizes = {"vocab_size": 96, "hidden_size": 64, "intermediate_size": 96}
    model = LlamaForCausalLM(LlamaConfig(tie_word_embeddings=tied, **sizes, **heads)).to(dtype)
    for row in zero:
        model.model.embed_tokens.weight.data[row] = 0
    trained = tokens.TokenRows(tuple(rows), **({"fresh": (), "held": 96, "total": 96} | options))
    indices = token_rows.locate(model, trained)
    config = LoraConfig(r=2, target_modules=["q_proj"], trainable_token_indices=indices)
    return get_peft_model(model, config), trained


def test_untrained_rows_start_at_the_mean_of_the_others_and_learned_rows_as_they_are():
    model, rows = peft_model((5, 7, 9, 11), zero=(7, 9, 30), fresh=(5,))
    base = [layer.base_layer.weight.detach().clone() for layer in token_rows.find_layers(model)]
    token_rows.start(model, rows)
    used = [row for row in range(96) if row not in (5, 7, 9, 30)]
    for layer, weight in zip(token_rows.find_layers(model), base, strict=True):
        delta = layer.trainable_tokens_delta["default"]
        for place in range(3):
            torch.testing.assert_close(delta[place], weight[used].mean(dim=0))
        assert torch.equal(delta[3], weight[11])
        assert torch.equal(layer.base_layer.weight, weight)


def test_a_twin_of_another_row_is_untrained():
    weight = torch.randn(8, 4)
    weight[6] = weight[2]
    rows = tokens.TokenRows((2, 3, 6), (), 8, 8)
    assert token_rows.find_untrained(weight, rows) == (2, 6)


def test_the_rows_are_trained_though_unsloth_freezes_them_on_a_gpu():
    """FastLanguageModel.get_peft_model ends with this call where there is a GPU."""
    from unsloth_zoo.training_utils import prepare_model_for_training

    model, rows = peft_model(dtype=torch.bfloat16)
    prepare_model_for_training(model, use_gradient_checkpointing=False)
    with pytest.raises(UserError, match="does not train the rows"):
        token_rows.check_trained(model)
    token_rows.start(model, rows)
    token_rows.check_trained(model)
    assert {
        layer.trainable_tokens_delta["default"].dtype for layer in token_rows.find_layers(model)
    } == {torch.float32}


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_unsloths_fused_loss_reaches_the_rows_of_both_matrices(tied):
    """On a GPU the loss reads lm_head.weight and never calls lm_head: the gradients are the same
    as those of the plain cross entropy."""
    from unsloth_zoo.fused_losses.cross_entropy_loss import unsloth_fused_ce_loss

    model, rows = peft_model(tied=tied)
    token_rows.start(model, rows)
    ids = torch.tensor([[1, 5, 7, 9, 5, 60]])

    def gradients(loss):
        model.zero_grad()
        loss.backward()
        return [layer.trainable_tokens_delta["default"].grad.clone() for layer in found]

    found, inner = token_rows.find_layers(model), model.base_model.model
    fused = unsloth_fused_ce_loss(
        trainer=None, hidden_states=inner.model(ids).last_hidden_state,
        lm_head_weight=inner.lm_head.weight, lm_head_bias=None, labels=ids, target_gb=1,
        torch_compile=False,
    )  # fmt: skip
    plain = gradients(model(ids, labels=ids).loss)
    assert len(plain) == (1 if tied else 2)
    assert all(gradient.abs().sum(dim=1).min() > 0 for gradient in plain)
    for one, other in zip(gradients(fused), plain, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_unsloths_check_for_untrained_tokens_passes_once_the_rows_are_started():
    """It runs on a GPU before training, and refuses rows of zeros that are not trained whole."""
    from datasets import Dataset
    from unsloth_zoo.tokenizer_utils import fix_untrained_tokens

    tokenizer = KINDS["llama3"]()
    data = Dataset.from_dict({"input_ids": [[1, 5, 7]] * 4})
    for started in (False, True):
        model, rows = peft_model(zero=(5, 7))
        for layer in token_rows.find_layers(model):
            layer.base_layer.weight.data[[5, 7]] = 0  # lm_head's, too
            layer.trainable_tokens_delta["default"].data[:] = 0
        if started:
            token_rows.start(model, rows)
            fix_untrained_tokens(model, tokenizer, data)
        else:
            with pytest.raises(ValueError, match="ntrained tokens"):
                fix_untrained_tokens(model, tokenizer, data)


@pytest.fixture
def pair(tmp_path):
    """A base of 96 rows and an adapter that trains rows 5 and 96 to 99 of both matrices."""
    model, _ = peft_model()
    base = model.unload()
    base.save_pretrained(tmp_path / "base")
    base.resize_token_embeddings(100)
    rows = [98, 5, 96, 97, 99]
    config = LoraConfig(
        r=2, target_modules=["q_proj"],
        trainable_token_indices={"embed_tokens": rows, "lm_head": rows},
    )  # fmt: skip
    model = get_peft_model(base, config)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += torch.randn_like(parameter)
    model.save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
    return tmp_path / "base", tmp_path / "adapter"


def test_rows_in_any_order_are_merged_as_peft_merges_them(pair, tmp_path):
    base, adapter = pair
    (tmp_path / "out").mkdir()
    assert merge(base, adapter, tmp_path / "out")["vocab_size"] == 100
    larger = read(base, 100, torch.float32)
    expected = PeftModel.from_pretrained(larger, adapter).merge_and_unload().state_dict()
    for name, tensor in weights(tmp_path / "out").items():
        assert torch.equal(tensor, expected[name]), name


@pytest.mark.parametrize(
    ("indices", "named"),
    [
        ([5, 98, 97, 99, 101], r"larger, without 96"),
        ([5, 5, 96, 97, 98], "does not fit"),
        ([-1, 1, 2, 3, 4], "does not fit"),
        ([5, 96, 97], "does not fit"),
    ],
)
def test_rows_that_would_not_fit_are_refused(pair, tmp_path, indices, named):
    file = pair[1] / "adapter_config.json"
    both = {"embed_tokens": indices, "lm_head": indices}
    config = json.loads(file.read_text(encoding="utf-8")) | {"trainable_token_indices": both}
    file.write_text(json.dumps(config), encoding="utf-8")
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match=named):
        merge(*pair, tmp_path / "out")


def test_an_adapter_that_makes_one_matrix_larger_is_refused(pair, tmp_path):
    file = pair[1] / "adapter_model.safetensors"
    save_file({k: v for k, v in load_file(file).items() if "lm_head" not in k}, file)
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError) as caught:
        merge(*pair, tmp_path / "out")
    text = str(caught.value)
    assert "makes model.embed_tokens.weight 100 rows high, but lm_head.weight has 96" in text
    assert "lacks the rows of lm_head" in text


def test_a_tied_base_that_stores_its_lm_head_gets_the_rows_twice(tmp_path):
    model, _ = peft_model((5, 7), tied=True)
    for layer in token_rows.find_layers(model):
        layer.trainable_tokens_delta["default"].data += 1
    model.save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
    model.unload().save_pretrained(tmp_path / "base")
    tensors = weights(tmp_path / "base")
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, tmp_path / "base" / "model.safetensors", {"format": "pt"})
    (tmp_path / "out").mkdir()
    merge(tmp_path / "base", tmp_path / "adapter", tmp_path / "out")
    found = weights(tmp_path / "out")
    assert torch.equal(*(found[name] for name in EMBEDDINGS))
    assert not torch.equal(found["lm_head.weight"], tensors["lm_head.weight"])


def test_rows_larger_than_a_piece_of_the_merge(tmp_path):
    """A growth of 3,000 rows of 256 numbers takes three pieces."""
    model, _ = peft_model()
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "num_hidden_layers": 1}
    sizes = {"vocab_size": 2000, "hidden_size": 256, "intermediate_size": 96}
    model = LlamaForCausalLM(LlamaConfig(tie_word_embeddings=True, **sizes, **heads)).bfloat16()
    model.save_pretrained(tmp_path / "base")
    model.resize_token_embeddings(5000)
    rows = [3, 1999, *range(2000, 5000)]
    config = LoraConfig(r=2, target_modules=["q_proj"], trainable_token_indices=rows)
    get_peft_model(model, config).save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
    (tmp_path / "out").mkdir()
    merge(tmp_path / "base", tmp_path / "adapter", tmp_path / "out")
    found = weights(tmp_path / "out")["model.embed_tokens.weight"]
    assert torch.equal(found, model.model.embed_tokens.weight)
