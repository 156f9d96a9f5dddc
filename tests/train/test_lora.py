"""Options of the adapter reach what is trained, saved and merged."""

import json
import shutil

import pytest
from conftest import TINY, refused, run_script
from safetensors.torch import load_file

import train
from threetoe.options.train import TrainConfig
from threetoe.train.prepare import without_earlier

SHORT = "--model tiny --no-load-in-4bit --gradient-accumulation-steps 1 --max-steps 2"
SHORT += " --warmup-steps 0"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A function: the folder of a short training with these words."""
    here = tmp_path_factory.mktemp("adapters")

    def run(name, words):
        run_script("train.py", *SHORT.split(), *words.split(), "--output-dir", name, cwd=here)
        return here / name

    return run


@pytest.fixture(scope="module")
def dora(trained):
    return trained("dora", "--use-dora --lora-r 4 --lora-alpha 8 --target-modules q_proj,v_proj")


def weights(folder):
    return load_file(folder / "adapter_model.safetensors")


def logged(folder, key="loss"):
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [entry[key] for entry in lines if key in entry]


def merged(folder):
    """What export.py says of a merge, which it proves."""
    done = run_script("export.py", "--run", folder, "--merged", f"{folder}-m", cwd=folder.parent)
    return done.stderr


def test_dora_learns_lengths_too_and_is_merged(dora):
    assert json.loads((dora / "adapter_config.json").read_text())["use_dora"] is True
    assert sum("magnitude" in name for name in weights(dora)) == 8
    assert "% of the adapter's effect kept" in merged(dora)


def test_a_training_goes_on_from_an_adapter_with_its_shape(dora, trained):
    on = trained("on", f"--init-adapter {dora} --learning-rate 1e-12")
    config = json.loads((on / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["use_dora"]) == (4, 8, True)
    assert json.loads((on / "run.json").read_text())["options"]["lora_r"] == 4
    before, after = weights(dora), weights(on)
    assert all(after[name].allclose(before[name], atol=1e-9) for name in before)
    assert logged(on)[0] < logged(dora)[0]


def test_flags_that_contradict_the_adapter_are_refused(dora, here):
    asked = ["--model", "tiny", "--init-adapter"]
    (line,) = refused(train, *asked, dora, "--lora-r", 8)
    assert line == f"--init-adapter {dora} has r 4, and --lora-r says 8; leave that out."
    shutil.copytree(dora, here / "odd")
    config = json.loads((dora / "adapter_config.json").read_text())
    (here / "odd" / "adapter_config.json").write_text(
        json.dumps(config | {"rank_pattern": {"q_proj": 2}})
    )
    (line,) = refused(train, *asked, "odd")
    assert line == "--init-adapter odd has rank_pattern: merge it, and train on that with --model."
    (here / "none").mkdir()
    (line,) = refused(train, *asked, "none")
    assert line == "--init-adapter none is no adapter: it has no adapter_config.json."


def test_embeddings_and_head_are_trained_whole_in_fp32_and_merged(trained):
    folder = trained("whole", "--modules-to-save embed_tokens,lm_head --target-modules q_proj")
    whole = {n: t for n, t in weights(folder).items() if "lora" not in n}
    assert [str(tensor.dtype) for tensor in whole.values()] == ["torch.float32"] * 2
    base = load_file(TINY / "model.safetensors")
    for name, tensor in whole.items():
        assert not tensor.equal(base[name.removeprefix("base_model.model.")].float())
    assert "% of the adapter's effect kept" in merged(folder)
    done = run_script("infer.py", "Hi", "--run", folder, cwd=folder.parent)
    assert done.stdout.strip()


def test_other_modules_are_not_trained_whole(here):
    (line,) = refused(train, "--model", "tiny", "--modules-to-save", "q_proj")
    assert line.startswith("--modules-to-save q_proj: only embed_tokens and lm_head are trained")


CHAT = [
    {"role": "user", "content": "One?"}, {"role": "assistant", "content": "no"},
    {"role": "user", "content": "Two?"}, {"role": "assistant", "content": "yes"},
]  # fmt: skip


def test_the_last_answer_alone_is_learned_and_the_preview_shows_it(here):
    (here / "chat.json").write_text(json.dumps([{"messages": CHAT}]))
    words = "--model tiny --dataset chat.json --template chatml --preview 1".split()
    shown = run_script("train.py", *words, cwd=here).stdout
    last = run_script("train.py", *words, "--train-on", "last", cwd=here).stdout
    assert "⟦no" in shown and "⟦yes" in shown
    assert "⟦no" not in last and "⟦yes" in last
    assert without_earlier(CHAT)[3] is CHAT[3] and "weight" not in CHAT[1]
    (line,) = refused(train, "--model", "tiny", "--train-on", "last", "--train-on-inputs")
    assert line.startswith("--train-on-inputs learns every token, --train-on last one answer")


def test_every_matrix_is_in_the_estimate_of_memory():
    from threetoe.backend.memory import need_of

    config = {"model": "tiny", "load_in_4bit": False}
    plain = need_of(TrainConfig(**config)).adapter
    whole = need_of(TrainConfig(**config, modules_to_save=("lm_head",))).adapter
    assert whole - plain == 2048 * 256 * 16  # fp32, a gradient, two moments
    assert need_of(TrainConfig(**config, use_dora=True)).adapter > plain


def test_a_saved_config_gives_the_same_run(here):
    words = "--model tiny --use-rslora --lr-scheduler-type cosine_with_min_lr --dry-run"
    words += " --lr-scheduler-kwargs min_lr=1e-5 --target-modules all-linear --seed 9"
    words = [*words.split(), "--map", "output=output", "--save-config"]
    first, again = (here / name for name in ("first.yaml", "again.yaml"))
    run_script("train.py", *words, first, cwd=here)
    flags = "--config first.yaml --dry-run --save-config again.yaml".split()
    run_script("train.py", *flags, cwd=here)
    assert first.read_text().splitlines()[1:] == again.read_text().splitlines()[1:]
    assert "learning_rate: 0.0032" in first.read_text() and "min_lr" in first.read_text()
    done = run_script("train.py", *flags, cwd=here, code=2)
    assert done.stderr.endswith("--save-config again.yaml exists already; name a new file.\n")


def test_a_rehearsal_of_an_adapter_that_goes_on_has_its_shape(dora, here):
    words = ["--model", "tiny", "--init-adapter", dora, "--rehearse"]
    done = run_script("train.py", *words, cwd=here)
    assert "FAULT" not in done.stdout and done.stdout.count(" ok ") == 6
