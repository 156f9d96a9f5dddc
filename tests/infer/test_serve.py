"""infer.py --serve: the openai client reads what infer.py answers, from engines that are here."""

import importlib.util
import json
import re
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from conftest import ROOT, TINY, refused, run_script
from gguf import GGUFWriter
from openai import OpenAI
from test_web import a_free_port

import infer
from threetoe.infer import conversation
from threetoe.infer import infer as flow
from threetoe.infer import serve as engines
from threetoe.machine.files import named_files
from threetoe.options.infer import InferConfig
from threetoe.prompt.template_file import read_template

QUESTIONS = [
    "Classify the sentiment of the text. The waiter was rude to us.",
    "Classify the sentiment of the text. We were delighted with the website.",
    "Hello",
    "Tell me a long story about a campsite.",
]
LONGEST = 24


@contextmanager
def server_of(folder, *flags):
    """A client of what infer.py --serve serves, and what it said, while it does."""
    port = a_free_port()
    command = [sys.executable, ROOT / "infer.py", "--serve", "--port", port, *flags]
    command, said = [*map(str, command)], []
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
    try:
        found = None
        while not found and (line := process.stderr.readline()):
            said.append(line)
            found = re.search(r"serves .* on (http://\S+)", line)
        assert found, said
        yield SimpleNamespace(client=OpenAI(base_url=found[1], api_key="none"), said=said)
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 130
    assert processes_with(port) == []


def processes_with(port):
    """The processes whose command line names the port."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found += [path] * (str(port).encode() in path.read_bytes().split(b"\0"))
        except OSError:  # it has ended
            continue
    return found


def asked(served, question, model="demo", system=(), **more):
    messages = [*system, {"role": "user", "content": question}]
    given = {"model": model, "messages": messages, "max_tokens": LONGEST, **more}
    return served.client.chat.completions.create(**given)


def text_of(*given, **more):
    return asked(*given, **more).choices[0].message.content


@pytest.fixture(scope="module")
def place(demo, tmp_path_factory):
    """A folder with the demo's run, and its GGUF file in fp32, in which nothing is rounded."""
    folder = tmp_path_factory.mktemp("served")
    shutil.copytree(demo[0], folder / "demo")
    run_script("export.py", "--run", "demo", "--gguf", "f32", cwd=folder)
    return folder


@pytest.fixture(scope="module")
def served(place):
    with server_of(place, "--run", "demo") as server:
        yield server


def answers_of_infer(place, *flags):
    """Of --run demo, unless the flags name another."""
    lines = [json.dumps({"prompt": question}) + "\n" for question in QUESTIONS]
    (place / "asked.jsonl").write_text("".join(lines), encoding="utf-8")
    (place / "answers.jsonl").unlink(missing_ok=True)
    flags = ["--file", "asked.jsonl", "--output", "answers.jsonl", *flags]
    flags = flags if "--run" in flags else ["--run", "demo", *flags]
    run_script("infer.py", "--max-new-tokens", LONGEST, *flags, cwd=place)
    answers = (place / "answers.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["answer"] for line in answers]


def test_the_openai_client_reads_what_infer_answers_at_once_streamed_and_in_parallel(served, place):
    ours = answers_of_infer(place)
    assert len(set(ours)) > 2
    assert [text_of(served, question) for question in QUESTIONS] == ours
    for question, answer in zip(QUESTIONS, ours, strict=True):
        parts = [
            part.choices[0].delta.content or "" for part in asked(served, question, stream=True)
        ]
        assert "".join(parts) == answer
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda question: text_of(served, question), QUESTIONS)) == ours


def test_the_proven_file_beside_the_run_is_served_under_the_runs_name(served):
    assert [model.id for model in served.client.models.list()] == ["demo"]
    (line,) = served.said
    assert line.startswith(
        "llama.cpp serves demo-gguf/demo.f32.gguf as 'demo' on http://127.0.0.1:"
    )


def test_a_requests_system_text_and_stop_hold(served, place):
    system = [{"role": "system", "content": "Answer in one word."}]
    ours = answers_of_infer(place, "--system", system[0]["content"])
    assert [text_of(served, question, system=system) for question in QUESTIONS] == ours
    whole = text_of(served, QUESTIONS[2])
    assert text_of(served, QUESTIONS[2], stop=whole[1:]) == whole[:1]


def test_a_template_with_its_stops_is_exported_on_the_way(demo, tmp_path):
    shutil.copytree(demo[0], tmp_path / "demo")
    alpaca = read_template(named_files("templates")["alpaca"])
    values = asdict(replace(alpaca, stop=("itive", "ative")))
    values = {k: list(v) if isinstance(v, tuple) else v for k, v in values.items() if v}
    del values["name"]
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    with server_of(tmp_path, "--run", "demo", "--template", "mine.yaml") as server:
        assert text_of(server, QUESTIONS[1]) in ("Pos", "Neg")
    assert server.said[0].startswith("gguf written to demo-gguf, checked: demo.q8_0.gguf: ")


def test_a_base_is_served_by_transformers_whose_processes_end_with_it(tmp_path):
    flags = ["--run", TINY, "--template", "human"]
    with server_of(tmp_path, *flags) as server:
        answer = text_of(server, "Hello", model="tiny")
    assert server.said[0] == f"{TINY} holds no adapter, of which a GGUF file is made\n"
    done = run_script("infer.py", "Hello", *flags, "--max-new-tokens", LONGEST, cwd=tmp_path)
    assert answer == done.stdout.removesuffix("\n")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_served_is_one_line_before_a_model_loads(place, served, monkeypatch):
    monkeypatch.chdir(place)
    serve, port = ["--serve", "--run", "demo"], served.client.base_url.port
    (line,) = refused(infer, *serve, "--port", port)
    assert line == f"--host 127.0.0.1 --port {port}: Address already in use; --port names another."
    for flags, said in (
        (["--temperature", "0.7"], "request says how it is answered; leave --temperature out."),
        (["--no-adapter"], "each request says how it is answered; leave --no-adapter out."),
        (["Hi"], "asks for questions itself; leave out a question."),
    ):
        (line,) = refused(infer, *serve, *flags)
        assert line.endswith(said)
    (place / "mine.py").write_text("def map_reply(reply):\n    return reply\n", encoding="utf-8")
    (line,) = refused(infer, *serve, "--plugin", "mine.py")
    assert line.startswith("--serve: a plugin has map_reply, which no engine calls;")


def test_a_gguf_file_is_asked_and_served_under_its_own_template_and_a_named_one(place):
    file = ["--run", "demo-gguf/demo.f32.gguf"]
    ours = answers_of_infer(place)
    for template in ([], ["--template", "alpaca"]):
        assert answers_of_infer(place, *file, *template) == ours
    asked = ["--input", "The waiter was rude.", "Classify the sentiment of the text."]
    run, named = (
        run_script("infer.py", *asked, "--run", "demo", cwd=place),
        run_script("infer.py", *asked, *file, "--template", "alpaca", cwd=place),
    )
    assert named.stdout == run.stdout
    with server_of(place, *file, "--template", "alpaca") as server:
        found = [text_of(server, question, model="demo.f32.gguf") for question in QUESTIONS]
    assert found == ours


def test_an_answer_of_a_gguf_file_can_be_stopped_as_it_comes(place):
    config = InferConfig(run=place / "demo-gguf" / "demo.f32.gguf", chat=True, max_new_tokens=8)
    loaded = conversation.Loaded(*gguf_job(config), 512)
    turns = [{"role": "user", "content": QUESTIONS[3]}]
    *_, whole = conversation.streamed(loaded, turns, config)
    parts = conversation.streamed(loaded, turns, config)
    assert whole.startswith(next(parts))
    parts.close()
    *_, again = conversation.streamed(loaded, turns, config)
    assert again == whole


def gguf_job(config):
    asked = replace(config, chat=False, prompt="Hi")
    job, model = flow.load_tokenizer(flow.plan_inference(asked))
    return job._replace(config=config), model, model


def test_what_a_gguf_file_cannot_be_asked_is_one_line(place, monkeypatch, tmp_path):
    copied(place, tmp_path, monkeypatch)
    file = Path("demo-gguf", "demo.f32.gguf")
    asked = ["Hi", "--run", file, "--max-new-tokens", "4"]
    for flags in (["--no-adapter"], ["--model", "tiny"], ["--constrain-to", "a,b"]):
        (line,) = refused(infer, *asked, *flags)
        assert line == f"{flags[0]}: of no use with {file}; a GGUF file is asked as it is."
    file.write_bytes(file.read_bytes()[:1_000_000])
    (line,) = refused(infer, *asked)
    assert line.startswith(f"--run {file} cannot be read: ")
    (line,) = refused(infer, "Hi", "--run", file.parent)
    assert line.endswith(f"is not a run folder: it has no run.json. infer.py takes --run {file}.")
    writer = GGUFWriter("adapter.gguf", "llama")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    (line,) = refused(infer, "Hi", "--run", "adapter.gguf", "--template", "alpaca")
    assert line == (
        "--run adapter.gguf is not a whole model, as an adapter is none: no tokenizer.ggml.tokens."
    )


def test_a_gguf_file_has_several_answers_with_a_temperature(place):
    config = InferConfig(
        run=place / "demo-gguf" / "demo.f32.gguf", prompt="Hi", n=6, temperature=2.0,
        max_new_tokens=8,
    )  # fmt: skip
    assert len({text for _, text in flow.ask(config)}) > 1


def test_a_program_that_has_ended_answers_nothing():
    ended = subprocess.Popen([sys.executable, "-c", ""])
    assert engines.answers(ended, f"http://127.0.0.1:{a_free_port()}") is False


def copied(place, folder, monkeypatch):
    """The run and its GGUF file in a folder of their own, made the current one."""
    monkeypatch.chdir(folder)
    for name in ("demo", "demo-gguf"):
        shutil.copytree(place / name, name)


def test_a_folder_in_the_way_is_not_served_and_not_touched(place, monkeypatch, tmp_path):
    copied(place, tmp_path, monkeypatch)
    path = tmp_path / "demo-gguf" / "verify.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    adapter = values["run"]["adapter"]
    values["run"]["adapter"] = "of another training"
    path.write_text(json.dumps(values), encoding="utf-8")
    (line,) = refused(infer, "--serve", "--run", "demo", "--port", a_free_port())
    assert line == (
        "--serve: demo-gguf is in the way, and by its verify.json no proven export of demo as it "
        "is now; move it, and it is written anew."
    )
    as_before = path.read_text(encoding="utf-8").replace("of another training", adapter)
    path.write_text(as_before, encoding="utf-8")
    (tmp_path / "demo-gguf" / "demo.f32.gguf").unlink()
    assert refused(infer, "--serve", "--run", "demo", "--port", a_free_port()) == [line]


def test_a_damaged_gguf_file_is_one_line(place, monkeypatch, tmp_path):
    copied(place, tmp_path, monkeypatch)
    file = tmp_path / "demo-gguf" / "demo.f32.gguf"
    file.write_bytes(file.read_bytes()[:1_000_000])
    (line,) = refused(infer, "--serve", "--run", "demo", "--port", a_free_port())
    assert line == "llama.cpp cannot load demo-gguf/demo.f32.gguf: it is damaged, or too large."


def test_without_an_engine_a_line_says_what_to_install(place, monkeypatch):
    real = importlib.util.find_spec
    missing = ("vllm", "xllamacpp", "uvicorn")
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *at: None if name in missing else real(name, *at)
    )
    monkeypatch.chdir(place)
    (line,) = refused(infer, "--serve", "--run", "demo", "--port", a_free_port())
    assert line.startswith('--serve: llama.cpp is not here: pip install -e ".[serve]"; vLLM needs ')
