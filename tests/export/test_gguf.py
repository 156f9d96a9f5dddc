"""GGUF files of trained runs, loaded by llama.cpp itself: they answer as the merged checkpoint."""

import numpy as np
import pytest
from gguf import GGUFReader, quants
from gguf_run import LONGEST, UNSEEN, WORDS, Server, ask_transformers, train_runs
from probes import PROBES
from safetensors.torch import load_file

from threetoe.backend import model as backend
from threetoe.export import export
from threetoe.export.gguf.gguf import write_gguf, write_ollama
from threetoe.export.merge.exporters import write_merged
from threetoe.options.export import ExportConfig
from threetoe.prompt.encode import prompt_ids
from threetoe.run import record as runs

EXACT = ("f32", "f16", "bf16")
AGREE = {"q8_0": 0.95} | dict.fromkeys(  # share of tokens, place by place, that must be the same
    ("q6_k", "q5_1", "q5_0", "q5_k_m", "q4_1", "q4_0", "q4_k_m", "q4_k_s", "q3_k_m"), 0.7
)
NEAR = 0.25  # logits; those of the checkpoint are rounded to 0.0625 and more
TYPES = (*EXACT, *AGREE)


class Exported:
    """A run, its merged checkpoint, its GGUF files, and what the checkpoint answers."""

    def __init__(self, folder, target):
        from transformers import AutoModelForCausalLM

        self.folder, self.run = runs.load(folder)
        self.merged, self.files = target / "merged", target / "gguf"
        config = ExportConfig(run=self.folder, gguf=TYPES)
        for write, place in ((write_merged, self.merged), (write_gguf, self.files)):
            place.mkdir(parents=True)
            write(self.run, place, config)
        self.asked = {}
        self.tokenizer = backend.load_tokenizer(self.folder)
        asked = [[{"role": "user", "content": f"Say {word}."}] for word in WORDS + UNSEEN]
        self.prompts = [self.ids(messages) for messages in asked]
        self.model = AutoModelForCausalLM.from_pretrained(self.merged, dtype="auto")
        self.answers = ask_transformers(self.model, self.prompts, self.run.stop_ids)

    def ids(self, messages):
        pieces = self.run.the_template().prompt(messages, self.run.the_marks())
        return prompt_ids(pieces, self.tokenizer)

    def gap(self, place, theirs):
        """By how much the checkpoint's logits prefer its own token where an answer first differs
        from its own; 0 where it never does."""
        import torch

        ours = self.answers[place]
        same = [a == b for a, b in zip(ours, theirs, strict=False)] + [ours == theirs]
        if all(same):
            return 0.0
        first = same.index(False)
        asked = torch.tensor([self.prompts[place] + ours[:first]])
        logits = self.model(asked).logits[0, -1].float()
        return float(logits[ours[first]] - logits[theirs[first]])

    def file(self, name):
        return self.files / f"{self.folder.name}.{name}.gguf"

    def in_llama_cpp(self, name):
        """The answers of a file, and how each ended."""
        if name not in self.asked:
            server = Server(self.file(name))
            self.asked[name] = [server.answer(ids) for ids in self.prompts]
        return self.asked[name]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    train_runs(folder)
    return folder


@pytest.fixture(scope="module", params=["named", "grown"])
def exported(request, trained, tmp_path_factory):
    """`named`: the tiny model as it is; `grown`: with two tokens that its vocabulary lacked."""
    return Exported(trained / request.param, tmp_path_factory.mktemp(request.param))


def test_the_answers_that_are_compared_are_long_and_differ(exported):
    lengths = [len(answer) for answer in exported.answers]
    assert len([length for length in lengths if length >= 16]) >= 12
    assert len({tuple(answer) for answer in exported.answers}) >= 12


@pytest.mark.parametrize("name", EXACT)
def test_a_16_bit_file_answers_token_for_token_as_the_merged_checkpoint(exported, name):
    stops, trained = exported.run.stop_ids, len(WORDS)
    found = exported.in_llama_cpp(name)[:trained]
    for ours, (theirs, ended) in zip(exported.answers[:trained], found, strict=True):
        assert theirs == ours
        assert ended == ("eos" if ours[-1] in stops else "limit")


@pytest.mark.parametrize("name", EXACT)
def test_on_prompts_never_trained_a_16_bit_file_differs_at_near_ties_alone(exported, name):
    """llama.cpp rounds what passes between layers elsewhere than torch does."""
    gaps = [
        exported.gap(place, theirs)
        for place, (theirs, _) in enumerate(exported.in_llama_cpp(name))
        if place >= len(WORDS)
    ]
    print(name, [round(gap, 3) for gap in gaps])
    assert len(gaps) >= 8 and max(gaps) <= NEAR
    assert sum(gap == 0 for gap in gaps) >= len(gaps) - 2


def test_answers_end_at_the_stop_ids_of_the_run(exported):
    ended = [answer for answer in exported.answers if len(answer) < LONGEST]
    assert len(ended) >= 8
    assert {answer[-1] for answer in ended} == {exported.run.stop_ids[0]}


@pytest.mark.parametrize("name", AGREE)
def test_a_quantised_file_has_most_tokens_in_common(exported, name):
    same = total = 0
    for ours, (theirs, _) in zip(exported.answers, exported.in_llama_cpp(name), strict=True):
        same += sum(a == b for a, b in zip(ours, theirs, strict=False))
        total += len(ours)
    print(f"{name}: {100 * same / total:.1f} % of {total} tokens")
    assert same >= AGREE[name] * total


def test_the_chat_template_renders_the_contracts_prompts(exported):
    """But for an earlier answer that the tokenizer may join to its cue, and for texts that spell
    special tokens: llama.cpp's tokenizer knows no CUT."""
    server = Server(exported.file("q8_0"))
    marks = exported.run.the_marks()
    checked = 0
    for name, messages in PROBES.items():
        plain = [{key: message[key] for key in ("role", "content")} for message in messages]
        if name == "answer starts with line breaks" or any(
            special in message["content"] for special in marks.special for message in plain
        ):
            continue
        assert server.ids(server.render(plain)) == exported.ids(plain), name
        checked += 1
    assert checked >= 10


def read(path):
    """The tensors of a file in fp32, and their types' names, by name."""
    found = GGUFReader(path).tensors
    shapes = {one.name: tuple(one.shape.tolist()[::-1]) for one in found}
    kinds = {one.name: one.tensor_type.name for one in found}
    values = {one.name: quants.dequantize(one.data, one.tensor_type) for one in found}
    return {name: value.reshape(shapes[name]) for name, value in values.items()}, kinds


def half_by_half(weight, heads):
    """Rows in pairs, as llama.cpp has q and k, put as transformers has them."""
    rows = weight.reshape(heads, weight.shape[0] // heads // 2, 2, *weight.shape[1:])
    return rows.swapaxes(1, 2).reshape(weight.shape)


def merged_by_gguf_name(exported):
    from gguf import MODEL_ARCH, get_tensor_name_map

    names = get_tensor_name_map(MODEL_ARCH.LLAMA, 4)
    for name, weight in load_file(exported.merged / "model.safetensors").items():
        yield names.get_name(name, try_suffixes=(".weight",)), weight.float().numpy()


def test_a_bf16_file_holds_the_merged_checkpoints_numbers_bit_for_bit(exported):
    written, kinds = read(exported.file("bf16"))
    expected = dict(merged_by_gguf_name(exported))
    assert written.keys() == expected.keys()
    for name, weight in expected.items():
        heads = {"attn_q": 4, "attn_k": 2}.get(name.split(".")[-2], 0)
        ours = half_by_half(written[name], heads) if heads else written[name]
        assert np.array_equal(ours, weight), name
        assert kinds[name] == ("F32" if name.endswith("norm.weight") else "BF16")


@pytest.mark.parametrize(("name", "steps"), [("q8_0", 127), ("q5_0", 15), ("q4_0", 7)])
def test_quantised_numbers_are_within_their_types_step(exported, name, steps):
    exact, _ = read(exported.file("f32"))
    written, kinds = read(exported.file(name))
    for tensor, weight in exact.items():
        steps_here = 127 if kinds[tensor] == "Q8_0" else steps
        gap = np.abs(written[tensor] - weight).reshape(-1, 32).max(axis=1)
        largest = np.abs(weight).reshape(-1, 32).max(axis=1)
        assert (gap <= 1.01 * largest / steps_here).all(), tensor


def test_the_ollama_folder_has_one_file_and_a_modelfile_that_names_it(exported, tmp_path):
    config = ExportConfig(run=exported.folder, ollama=tmp_path)
    write_ollama(exported.run, tmp_path, config)
    name = f"{exported.folder.name}.q8_0.gguf"
    assert {path.name for path in tmp_path.iterdir()} == {name, "Modelfile"}
    text = (tmp_path / "Modelfile").read_text(encoding="utf-8")
    assert f"\nFROM ./{name}\n" in text and "\nPARAMETER stop " in text
    assert (tmp_path / name).read_bytes() == exported.file("q8_0").read_bytes()


def test_both_exporters_can_be_asked_for_by_name(exported, tmp_path):
    export.export(
        ExportConfig(
            run=exported.folder, gguf=("q4_0",),
            format=(("gguf", tmp_path / "g"), ("ollama", tmp_path / "o")),
        )
    )  # fmt: skip
    name = f"{exported.folder.name}.q4_0.gguf"
    for folder in ("g", "o"):
        assert (tmp_path / folder / name).read_bytes() == exported.file("q4_0").read_bytes()
