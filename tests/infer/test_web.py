"""infer.py --web in a real browser: both answer, an answer is stopped, markup stays text."""

import re
import socket
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace

import pytest
from browser import a_browser, needs_chromium
from conftest import ROOT, refused

import infer
from threetoe import api
from threetoe.infer import conversation, web
from threetoe.options.infer import InferConfig

pytest.importorskip("gradio")
MARKUP = "<b onclick=alert(1)>Hello</b> <img src=x onerror=alert(2)>"


def a_free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@contextmanager
def page_of(run, *flags):
    """The address of the page of a run, while it is served."""
    command = [sys.executable, ROOT / "infer.py", "--web", "--run", run, "--port", a_free_port()]
    process = subprocess.Popen([*map(str, command), *flags], stderr=subprocess.PIPE, text=True)
    try:
        said = (re.search(r"http://[\d.:]+/", line) for line in process.stderr)
        yield next(filter(None, said))[0]
    finally:
        process.terminate()
        process.communicate(timeout=30)


@needs_chromium
def test_base_and_run_answer_side_by_side_and_can_be_stopped(demo):
    with page_of(demo[0], "--max-new-tokens", "4") as address, a_browser() as browser:
        from selenium.webdriver.support.ui import WebDriverWait

        browser.get(address)
        wait = WebDriverWait(browser, 120)

        def find(selector):
            return wait.until(lambda _: browser.find_elements("css selector", selector))[0]

        def answers(name):
            found = "[...document.querySelectorAll(arguments[0])].map(e => e.innerText)"
            return browser.execute_script(f"return {found}", f"#{name} .bot.message")

        browser.set_window_size(500, 800)  # as narrow as it goes
        top = {name: find(f"#{name}").rect["y"] for name in ("ask", "trained", "base")}
        assert top["ask"] < top["trained"] < top["base"] < 800  # all in sight, one below the other
        find("#question textarea").send_keys(MARKUP)
        find("#ask").click()
        wait.until(lambda _: answers("base"))
        assert answers("trained")
        assert MARKUP in find("#trained").text
        assert browser.find_elements("css selector", "#trained img[onerror]") == []
        question = find("#question textarea")
        wait.until(lambda _: question.get_attribute("value") == "")
        question.send_keys("More")
        for button in ("ask", "stop", "clear"):
            find(f"#{button}").click()
        wait.until(lambda _: not answers("trained") + answers("base"))
        question.send_keys("Hello")
        find("#ask").click()
        wait.until(lambda _: answers("base"))


@pytest.fixture(scope="module")
def loaded(demo):
    return conversation.load(InferConfig(run=demo[0], web=True, max_new_tokens=8))


def last(parts):
    *_, end = parts
    return end


def test_the_bases_side_is_the_base_and_the_runs_side_the_run(loaded, demo):
    text = "The waiter was rude to us."
    question = "Classify the sentiment of the text."
    press = web.answering([web.Side(loaded), web.Side(loaded, False)], again=False)
    trained, base, *_ = last(press(question, text, "", 0.0, 8, [], []))
    asked = {"run": demo[0], "input": text, "max_new_tokens": 8}
    assert [trained[-1]["content"]] == api.infer(question, **asked)
    assert [base[-1]["content"]] == api.infer(question, **asked, adapter=False)
    assert trained[-1] != base[-1]
    assert trained[0] == base[0] == {"role": "user", "content": question, "input": text}


def test_an_answer_that_is_stopped_keeps_what_came_and_the_next_is_whole(loaded):
    turns = [{"role": "user", "content": "Tell me a long story."}]
    config = replace(loaded.job.config, adapter=False)
    whole = last(conversation.streamed(loaded, turns, config))
    parts = conversation.streamed(loaded, turns, config)
    first = next(parts)
    parts.close()
    assert whole.startswith(first)
    assert last(conversation.streamed(loaded, turns, config)) == whole


def test_a_question_that_was_stopped_before_its_answer_is_no_turn(loaded):
    press = web.answering([web.Side(loaded)], again=False)
    stopped = [{"role": "user", "content": "One"}, {"role": "assistant", "content": ""}]
    turns, *_ = last(press("Two", "", "", 0.0, 4, stopped))
    assert [turn["content"] for turn in turns[:1]] == ["Two"]


def test_nothing_asked_is_said_on_the_page_alone(loaded):
    import gradio

    press = web.answering([web.Side(loaded)], again=True)
    with pytest.raises(gradio.Error) as raised:
        last(press("", "", "", 0.0, 4, []))
    assert not raised.value.print_exception


def test_what_would_stop_the_page_is_said_before_a_model_loads(three_steps, here, monkeypatch):
    asked = ["--web", "--run", three_steps]
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        (line,) = refused(infer, *asked, "--port", port)
    assert line == f"--host 127.0.0.1 --port {port}: Address already in use; --port names another."
    for host in ("300.1.1.1", "\u00e9" * 70):
        assert refused(infer, *asked, "--host", host) == [
            f"--host {host} is no address of this machine."
        ]
    (line,) = refused(infer, *asked, "--port", port, "Hello")
    assert line == "--web asks for questions itself; leave out a question."
    monkeypatch.setenv("THREETOE_AUTH", "me")
    assert refused(infer, *asked) == ["THREETOE_AUTH is not of the form NAME:PASSWORD."]
