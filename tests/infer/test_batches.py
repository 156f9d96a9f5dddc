"""Rows that are answered together: as each alone, where padding misleads, where memory runs out."""

import shutil
from dataclasses import replace

import pytest
from conftest import ROOT, TINY

from threetoe.infer import conversation
from threetoe.infer import infer as flow
from threetoe.infer.questions import Question
from threetoe.machine.libraries import load_unsloth
from threetoe.options.infer import InferConfig


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """The embedded base in fp32, and 40 questions of many lengths."""
    import torch

    folder = tmp_path_factory.mktemp("wide")
    shutil.copytree(TINY, folder, dirs_exist_ok=True)
    config = InferConfig(run=folder, template="alpaca", web=True, max_new_tokens=12)
    config = replace(config, repetition_penalty=1.4)
    load_unsloth()
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_pretrained(TINY, dtype=torch.float32).save_pretrained(folder)
    job, model, tokenizer, _ = conversation.load(config)
    words = (ROOT / "README.md").read_text(encoding="utf-8").split()
    texts = [" ".join(words[9 * n : 9 * n + 2 + 7 * n % 41]) for n in range(40)]
    asked = [Question([{"role": "user", "content": text}], None) for text in texts]
    asked = [question._replace(number=number) for number, question in enumerate(asked)]
    assert model.dtype == torch.float32
    return *flow.encode_questions(job._replace(questions=asked), tokenizer), model, tokenizer


def answers(loaded, **changes):
    job, prompts, model, tokenizer = loaded
    job = job._replace(config=replace(job.config, **changes))
    given = flow.answer(job, model, tokenizer, prompts)
    return [answer.text for answer in sorted(given, key=lambda answer: answer.question.number)]


@pytest.fixture(scope="module")
def alone(loaded):
    return answers(loaded, batch_size=1)


@pytest.fixture
def fault(loaded):
    """What changes the arguments of the model's passes until the test has ended."""
    handles = []

    def put(change):
        model = loaded[2]
        handles.append(model.register_forward_pre_hook(change, with_kwargs=True))

    yield put
    for handle in handles:
        handle.remove()


def test_answers_in_batches_equal_those_to_each_question_alone(loaded, alone, capsys):
    assert len(set(alone)) > 15
    assert answers(loaded) == alone
    assert "32 rows at once, on a CPU" in capsys.readouterr().err
    assert answers(loaded, batch_size=7) == alone


def test_rows_of_one_length_are_asked_together_where_padding_misleads(loaded, alone, fault, capsys):
    widths = []

    def forget_padding(model, args, given):
        widths.append(len(given["input_ids"]))
        return args, {**given, "attention_mask": None}

    fault(forget_padding)
    assert answers(loaded) == alone
    assert "this model answers padded rows otherwise" in capsys.readouterr().err
    assert max(widths) > 1


def test_batches_halve_where_memory_runs_out(loaded, alone, fault, capsys):
    import torch

    def run_out(model, args, given):
        if len(given["input_ids"]) > 8 and given["past_key_values"].get_seq_length() > 90:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    fault(run_out)
    assert answers(loaded) == alone
    assert "out of memory with 32 rows at once; it goes on with 16" in capsys.readouterr().err
