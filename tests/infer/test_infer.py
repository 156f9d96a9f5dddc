"""infer.py, run for real: the run's own prompt, only the answer printed."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys

import pytest
from conftest import ROOT, refused, run_script

import infer
from threetoe.backend.generate import memory_named
from threetoe.errors import Failure
from threetoe.run.latest import ago


@pytest.fixture(scope="session")
def answers(demo, workplace, tmp_path_factory):
    """The held-out rows' answers with and without the adapter, and what was printed."""
    found = {}
    for name, flag in (("after", "--adapter"), ("before", "--no-adapter")):
        path = tmp_path_factory.mktemp("answers") / f"{name}.jsonl"
        printed = run_script(
            "infer.py", "--run", "demo", "--file", "sentiment", flag, "--max-new-tokens", 12,
            "--output", path, cwd=workplace,
        )  # fmt: skip
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        found[name] = rows, printed
    return found


def share_right(rows):
    return sum(row["answer"] == row["expected"] for row in rows) / len(rows)


def test_the_base_answers_at_chance_and_the_run_knows_nine_of_ten(answers):
    assert len(answers["after"][0]) == len(answers["before"][0]) == 180
    assert share_right(answers["before"][0]) <= 0.4
    assert share_right(answers["after"][0]) >= 0.9


def test_the_share_that_is_exactly_right_is_printed(answers):
    rows, printed = answers["after"]
    right = sum(row["answer"] == row["expected"] for row in rows)
    assert f"{right} of 180 exactly right" in printed.stderr
    assert printed.stdout == ""


def test_only_the_answer_goes_to_standard_output(demo, workplace):
    question = "Classify the sentiment of the text."
    done = run_script(
        "infer.py", question, "--input", "The waiter was rude to us.", "--run", "demo",
        cwd=workplace, fresh=True,
    )  # fmt: skip
    assert done.stdout == "Negative\n"
    assert done.stderr == ""


def test_the_latest_run_is_asked_and_named_with_those_passed_over(three_steps, tmp_path):
    """The question is piped in."""
    (tmp_path / "runs").mkdir()
    for name in ("old", "mine"):
        shutil.copytree(three_steps, tmp_path / "runs" / name)
        (tmp_path / "runs" / name / "run.json").touch()
    for name, age in (("killed", 0), ("long-ago", 9000)):
        partial = tmp_path / "runs" / name / "run.partial.json"
        partial.parent.mkdir()
        partial.touch()
        os.utime(partial, (partial.stat().st_mtime + 1 - age,) * 2)
    done = run_script("infer.py", "--max-new-tokens", 1, cwd=tmp_path, input="Hello?\n")
    assert done.stdout.strip()
    named, cut = done.stderr.splitlines()
    said = r"asking runs/mine \(base tiny, alpaca, 3 steps, (just now|\d+ seconds? ago)\)"
    assert re.fullmatch(said + "; passed over, as not finished: runs/killed", named)
    assert cut == "the answer was cut at --max-new-tokens 1"


def test_the_time_since_a_run_is_told_in_its_largest_unit():
    told = [ago(seconds) for seconds in (0.4, 1, 119, 120, 7200, 86_400 * 3)]
    assert told == [
        "just now", "1 second ago", "1 minute ago", "2 minutes ago", "2 hours ago", "3 days ago"
    ]  # fmt: skip


def test_sampling_with_a_seed_gives_the_same_answer_again(demo, workplace):
    flags = ["--run", "demo", "--temperature", 1.5, "--max-new-tokens", 12, "--no-adapter"]
    first, second = (run_script("infer.py", "Once", *flags, cwd=workplace).stdout for _ in range(2))
    assert first == second


def test_every_problem_of_a_call_is_reported_at_once(tmp_path):
    done = run_script(
        "infer.py", "Hi", "--run", "nowhere", "--file", "x.jsonl", "--temperature", 9,
        "--output", "no/such/folder.jsonl", cwd=tmp_path, code=2,
    )  # fmt: skip
    problems = done.stderr.splitlines()
    assert len(problems) == 4
    for part in ("nowhere", "--file", "--temperature", "--output"):
        assert sum(part in problem for problem in problems) == 1
    assert list(tmp_path.iterdir()) == []


def test_an_output_file_is_never_overwritten(demo, workplace, tmp_path):
    path = tmp_path / "answers.jsonl"
    path.write_text("kept")
    run_script(
        "infer.py", "--run", "demo", "--file", "sentiment", "--output", path,
        cwd=workplace, code=2,
    )  # fmt: skip
    assert path.read_text() == "kept"


def test_a_question_longer_than_the_models_context_is_refused_and_long_ones_are_asked(
    three_steps, workplace
):
    flags = ["--run", "three", "--max-new-tokens", 4]
    done = run_script("infer.py", "a b c " * 900, *flags, cwd=workplace, code=2)
    assert "the model reads 2048 with the answer" in done.stderr
    assert run_script("infer.py", "a b c " * 600, *flags, cwd=workplace).stdout.strip()


def test_rows_longer_than_the_models_context_are_refused(tmp_path):
    done = run_script("train.py", "--max-seq-length", 4096, cwd=tmp_path, code=2)
    assert "--max-seq-length 4096: tiny reads at most 2048 tokens." in done.stderr


def test_rows_that_cannot_be_asked_are_named_and_answers_say_their_row(
    three_steps, workplace, tmp_path
):
    data = tmp_path / "mixed.json"
    data.write_text('[{"instruction": "a"},\n{"foo": 1},\n{"instruction": ""}]')
    done = run_script(
        "infer.py", "--run", "three", "--file", data, "--max-new-tokens", 2, cwd=workplace
    )
    assert f"1 dropped: instruction is empty (first: {data}:3)" in done.stderr
    assert f"(first: {data}:2)" in done.stderr
    (row,) = map(json.loads, done.stdout.splitlines())
    assert (row["where"], row["cut"]) == (f"{data}:1", True)
    assert "1 of 1 answers were cut (--max-new-tokens 2)" in done.stderr


def test_one_answer_can_be_written_to_a_file_too(three_steps, workplace, tmp_path):
    path = tmp_path / "answer.jsonl"
    flags = ["--run", "three", "--max-new-tokens", 2, "--output", path]
    assert run_script("infer.py", "Hi", *flags, cwd=workplace).stdout == ""
    assert json.loads(path.read_text(encoding="utf-8"))["messages"][0]["content"] == "Hi"


def test_an_answer_is_streamed_and_its_bytes_are_those_of_the_whole_answer(three_steps, workplace):
    """A plugin that changes nothing makes the answer come whole."""
    plugin = workplace / "whole.py"
    plugin.write_text("def map_reply(reply):\n    return reply\n")
    flags = ["infer.py", "Once upon", "--run", "three", "--max-new-tokens", 60]
    streamed, whole = (
        run_script(*flags, *more, cwd=workplace).stdout for more in ([], ["--plugin", plugin])
    )
    assert streamed == whole
    assert len(streamed) > 20


def test_ctrl_c_while_an_answer_comes_ends_its_line_and_leaves(three_steps, workplace):
    command = [sys.executable, ROOT / "infer.py", "Once upon", "--run", "three"]
    process = subprocess.Popen(
        [*command, "--max-new-tokens", "1900", "--temperature", "2"], cwd=workplace,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "NO_COLOR": "1"},
    )  # fmt: skip
    begun = process.stdout.read(1)
    process.send_signal(signal.SIGINT)
    rest, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, b"Error: Stopped.\n")
    assert begun and rest.endswith(b"\n")


def test_an_answer_is_printed_where_the_terminal_lacks_its_characters(three_steps, workplace):
    plugin = workplace / "chinese.py"
    plugin.write_text("def map_reply(reply):\n    return '积极 🙂'\n", encoding="utf-8")
    flags = ["--run", "three", "--max-new-tokens", 1, "--plugin", plugin]
    ascii_only = {"cwd": workplace, "env": {**os.environ, "PYTHONIOENCODING": "ascii"}}
    done = run_script("infer.py", "Hi", *flags, **ascii_only)
    assert done.stdout == "\\u79ef\\u6781 \\U0001f642\n"
    rows = workplace / "one.jsonl"
    rows.write_text('{"instruction": "Hi"}\n')
    done = run_script("infer.py", "--file", rows, *flags, **ascii_only)
    assert json.loads(done.stdout)["answer"] == "积极 🙂"


def test_bytes_that_are_not_utf_8_are_refused_and_named(three_steps, here):
    command = [sys.executable, ROOT / "infer.py", "--run", three_steps]
    done = subprocess.run(command, input=b"caf\xe9", capture_output=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr == (
        b"Error: Standard input is not UTF-8 at byte 3; put `iconv -f ENCODING` before it.\n"
    )
    done = subprocess.run([*command, b"caf\xe9"], capture_output=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr == b"Error: The question is not UTF-8; give it in a file: --file FILE.\n"


def changed(run, folder, **changes):
    """A copy of a run folder whose record is changed."""
    folder.mkdir()
    for path in run.iterdir():
        (folder / path.name).symlink_to(path)
    (folder / "run.json").unlink()
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    (folder / "run.json").write_text(json.dumps({**record, **changes}), encoding="utf-8")
    return folder, record


def test_a_record_whose_template_was_edited_is_refused(three_steps, here):
    _, record = changed(three_steps, here / "whole")
    template = {**record["template"], "system": "Be rude."}
    folder, _ = changed(three_steps, here / "run", template=template)
    (line,) = refused(infer, "Hi", "--run", folder)
    assert line.startswith(f"{folder}/run.json is damaged: the template in it has the hash ")
    assert line.endswith(f", the one that was trained {record['template_hash']}.")


def test_a_base_that_has_moved_is_named_with_the_flag_that_mends_it(three_steps, here):
    _, record = changed(three_steps, here / "whole")
    options = {**record["options"], "model": "/old/path"}
    folder, _ = changed(three_steps, here / "run", options=options)
    (line,) = refused(infer, "Hi", "--run", folder)
    assert line == (
        f"The base of --run {folder} was in /old/path, where it is not any more: name its folder, "
        "or a Hub id, with --model."
    )
    asked = ["infer.py", "Hi", "--run", folder, "--max-new-tokens", 2]
    done = run_script(*asked, "--model", "tiny", cwd=here)
    assert done.stderr == "the answer was cut at --max-new-tokens 2\n"


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (["--template", "alpca"], "No template named 'alpca'. Did you mean 'alpaca'?"),
        (["--force-template"], "--force-template goes with --template NAME, which is not given."),
        (["--model", "/no/where"], "--model /no/where: no such folder, and a Hub id looks like"),
    ],
)
def test_a_wrong_name_is_refused_before_anything_loads(flags, problem, three_steps, here):
    (line, *_) = refused(infer, "Hi", "--run", three_steps, *flags)
    assert line.startswith(problem)


def test_another_template_than_the_runs_is_refused_with_the_first_token_that_differs(
    three_steps, workplace
):
    asked = ["infer.py", "Hi", "--run", "three", "--max-new-tokens", 2]
    done = run_script(*asked, "--template", "chatml", cwd=workplace, code=2)
    assert done.stderr == (
        "Error: --template chatml: this run was trained with alpaca; the prompts differ at token "
        "1: 'Below is an instruction that describes' was trained, '<|im_start' was asked for. "
        "Leave --template out, or force it with --force-template.\n"
    )


def test_no_more_positions_are_asked_for_than_the_base_has(three_steps, workplace, tmp_path):
    """On a GPU Unsloth would scale RoPE, for every answer."""
    plugin = tmp_path / "asked.py"
    plugin.write_text(
        "import sys\n\ndef load_model(config, adapter):\n"
        "    print('asked for', config.max_seq_length, file=sys.stderr)\n    raise SystemExit\n"
    )
    done = run_script(
        "infer.py", "Hi", "--run", "three", "--max-new-tokens", 5000, "--plugin", plugin,
        cwd=workplace, code=1,
    )  # fmt: skip
    assert "asked for 2048\n" in done.stderr


def test_memory_that_runs_out_while_answering_is_one_line():
    import torch

    with pytest.raises(Failure, match="8 questions at once: a lower --batch-size"), memory_named(8):
        raise torch.OutOfMemoryError("CUDA out of memory.")
