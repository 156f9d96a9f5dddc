"""A page on which base and run answer side by side, made of Gradio's parts."""

import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from html import escape
from itertools import count
from pathlib import Path
from threading import Event
from typing import NamedTuple

from threetoe.backend.adapter import is_adapter
from threetoe.errors import Failure, UserError
from threetoe.infer import several
from threetoe.infer.conversation import Loaded, load, streamed
from threetoe.machine.terminal import say
from threetoe.options.infer import InferConfig
from threetoe.run import losses, probes
from threetoe.run.record import METRICS

AUTH = "THREETOE_AUTH"  # NAME:PASSWORD, which the page asks for
LOCAL = ("127.0.0.1", "localhost")


def serve(config: InferConfig) -> None:
    """Show the page until Ctrl-C. What would stop it is found before the model is loaded."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    auth = the_auth()
    check_port(config.host, config.port)
    try:
        import gradio  # noqa: F401
    except ModuleNotFoundError as error:
        raise UserError('--web needs Gradio: pip install -e ".[web]".') from error
    calls, share = several.each(config) if config.runs else {"": config}, several.Share(keeps=True)
    all_loaded = {name: load(call, share) for name, call in calls.items()}
    if not auth and (config.share or config.host not in LOCAL):
        say(f"anyone who has the address can ask; {AUTH}=NAME:PASSWORD asks for a password")
    blocks = page(sides_of(all_loaded))
    _, local, public = blocks.queue(default_concurrency_limit=1).launch(
        server_name=config.host, server_port=config.port, share=config.share, auth=auth, quiet=True,
        show_error=True, ssr_mode=False, footer_links=[], prevent_thread_lock=True, css=CSS,
    )  # fmt: skip
    folders = ", ".join(str(loaded.job.folder) for loaded in all_loaded.values())
    say(f"{folders} answers on {public or local} (Ctrl-C ends it)")
    try:
        Event().wait()
    finally:
        blocks.close(verbose=False)
        for loaded in all_loaded.values():
            loaded.job.hooks.end()


def the_auth() -> tuple[str, str] | None:
    given = os.environ.get(AUTH)
    if not given:
        return None
    name, colon, password = given.partition(":")
    if not (name and colon and password):
        raise UserError(f"{AUTH} is not of the form NAME:PASSWORD.")
    return name, password


def check_port(host: str, port: int) -> None:
    """UserError where nothing can be bound there, such as a port in use."""
    try:
        with socket.create_server((host, port)):
            pass
    except (OSError, TypeError) as error:
        number = getattr(error, "errno", -1)
        if number < 0:  # of getaddrinfo, or letters that no name of a machine has
            raise UserError(f"--host {host} is no address of this machine.") from error
        raise UserError(
            f"--host {host} --port {port}: {os.strerror(number)}; --port names another."
        ) from error


BUTTONS = {"ask": "primary", "stop": "stop", "retry": "secondary", "clear": "secondary"}
CSS = ".answers {flex-wrap: wrap} .dark {color-scheme: dark} footer {display: none !important}"


class Side(NamedTuple):
    """What a column of the page shows the answers of."""

    loaded: Loaded
    adapter: bool = True


def sides_of(all_loaded: dict[str, Loaded]) -> dict[str, Side]:
    """The columns by name: the runs, and their base, or bases."""
    sides = {name or "trained": Side(loaded) for name, loaded in all_loaded.items()}
    bases = {}
    for loaded in all_loaded.values():
        if is_adapter(loaded.job.folder):
            bases.setdefault(id(loaded.model.get_base_model()), loaded)
    for loaded in bases.values():
        name = "base" if len(bases) == 1 else f"base of {loaded.job.folder.name}"
        sides[name] = Side(loaded, adapter=False)
    return sides


def page(sides: dict[str, Side]):
    """The page as gradio.Blocks."""
    import gradio as gr

    runs = [side.loaded for side in sides.values() if side.adapter]
    folders = [loaded.job.folder for loaded in runs]
    title = ", ".join(folder.name for folder in folders)
    with gr.Blocks(title=f"Threetoe: {title}", analytics_enabled=False, fill_width=True) as blocks:
        told = [f"{name}: {about(side.loaded)}" for name, side in sides.items() if side.adapter]
        told = "".join(f"<p>{escape(line)}</p>" for line in told)
        gr.HTML(f"<h2>{escape(title)}</h2>{told}")
        asked = question_parts(gr, [loaded.job.run.the_template() for loaded in runs])
        with gr.Row():
            buttons = [
                gr.Button(name.title(), elem_id=name, min_width=60, variant=variant)
                for name, variant in BUTTONS.items()
            ]
        with gr.Row(elem_classes="answers", equal_height=True):
            boxes = [answer_box(gr, name) for name in sides]
        settings = setting_parts(gr, runs[0].job.config)
        rows = [row for folder in folders for row in questions_of(folder)]
        if different := list(dict.fromkeys(rows)):
            gr.Examples([*map(list, different)], asked, label="From the training data")
        if pictures := [*filter(None, map(losses.picture_in, folders))]:
            with gr.Accordion("How it learned", open=False):
                for picture in pictures:
                    gr.Image(str(picture), label=picture.parent.name, buttons=["fullscreen"])
        connect(gr, sides, boxes, asked, settings, buttons)
    return blocks


def answer_box(gr, name: str):
    return gr.Chatbot(
        label=name, elem_id=name, render_markdown=False, buttons=["copy"], feedback_options=None,
        min_width=280, height=None, min_height=120, max_height=400,
    )  # fmt: skip


def question_parts(gr, templates: list) -> list:
    has_input = any("user_with_input" in template.roles for template in templates)
    return [
        gr.Textbox(label="Question", elem_id="question", autofocus=True),
        gr.Textbox(label="Input", elem_id="input", visible=has_input),
    ]


def connect(gr, sides: dict, boxes: list, asked: list, settings: list, buttons: list) -> None:
    """What the buttons do; each visitor has turns of their own."""
    ask, stop, retry, clear = buttons
    turns = [gr.State([]) for _ in boxes]
    given, shown = [*asked, *settings, *turns], [*turns, *boxes]
    changed = [*shown, *asked]
    first, again = (answering(list(sides.values()), again) for again in (False, True))
    asking = [
        gr.on([ask.click, asked[0].submit], first, given, changed),
        retry.click(again, given, changed),
    ]
    stop.click(None, cancels=asking)
    emptied = [clear.click, *(box.clear for box in boxes)]
    gr.on(emptied, lambda: [[] for _ in shown], None, shown, cancels=asking)


def about(loaded: Loaded) -> str:
    """The run in a line: base, data, figures."""
    run = loaded.job.run
    data = run.options.get("dataset") or ()
    parts = [f"base {run.options['model']}", f"template {run.the_template().name}"]
    parts += [", ".join(data) if not isinstance(data, str) else data] if data else []
    parts += [f"{run.metrics['steps']} steps"] if "steps" in run.metrics else []
    loss = losses.said(losses.read_points(loaded.job.folder / METRICS))
    parts += [f"loss {loss}"] if loss else []
    return " · ".join(parts)


def questions_of(run: Path) -> Iterator[tuple[str, str]]:
    """(question, input) of the rows that a run keeps of its training data."""
    for messages in probes.read(run):
        asked = [m for m in messages if m["role"] == "user"] if isinstance(messages, list) else []
        if asked:
            yield asked[0]["content"], asked[0].get("input", "")


def setting_parts(gr, config: InferConfig) -> list:
    with gr.Accordion("Settings", open=False):
        return [
            gr.Textbox(config.system or "", label="System text (empty: the run's own)"),
            gr.Slider(0, 2, config.temperature, label="Temperature (0: always the same answer)"),
            gr.Slider(1, 2048, config.max_new_tokens, step=1, label="Longest answer in tokens"),
        ]


def answering(sides: list[Side], again: bool):
    """What a press of a button does: yields the turns, what the boxes show of them, and what then
    stands in the fields for a question."""
    import gradio as gr

    tries = count(1)

    def answer(question, text, system, temperature, longest, *turns) -> Iterator:
        turns = [list(own) for own in turns]
        settings = {
            "system": system or None, "temperature": temperature, "max_new_tokens": longest,
        }  # fmt: skip
        if again:
            settings["seed"] = sides[0].loaded.job.config.seed + next(tries)
            turns = [own[:-1] if own and own[-1]["role"] == "assistant" else own for own in turns]
        else:
            turns = [with_question(own, question.strip(), text) for own in turns]
        if not turns[0] or not turns[0][-1]["content"]:
            raise gr.Error("Nothing is asked yet.", print_exception=False)
        left = [question, text] if again else ["", ""]
        for own, (loaded, adapter) in zip(turns, sides, strict=True):
            config = loaded.job.config
            config = replace(config, **settings, adapter=config.adapter and adapter)
            own.append({"role": "assistant", "content": ""})
            try:
                for reply in streamed(loaded, own[:-1], config):
                    own[-1] = {"role": "assistant", "content": reply}
                    yield *turns, *map(shown_turns, turns), *left
                    left = [gr.skip(), gr.skip()]  # the next question may be being typed
            except (UserError, Failure) as error:
                raise gr.Error("\n".join(error.problems), print_exception=False) from error
            yield *turns, *map(shown_turns, turns), *left

    return answer


def with_question(turns: list[dict], question: str, text: str) -> list[dict]:
    asked = {"role": "user", "content": question}
    return [*whole(turns), asked | ({"input": text} if text.strip() else {})]


def whole(turns: list[dict]) -> list[dict]:
    """The turns without a question that was stopped before an answer began."""
    while turns and not (turns[-1]["role"] == "assistant" and turns[-1]["content"]):
        turns = turns[:-1]
    return turns


def shown_turns(turns: list[dict]) -> list[dict]:
    """Turns as Gradio's Chatbot takes them, markup as text; an input stands below its question."""
    texts = ["\n".join(filter(None, (turn["content"], turn.get("input")))) for turn in turns]
    return [
        {"role": turn["role"], "content": escape(text, quote=False)}
        for turn, text in zip(turns, texts, strict=True)
    ]
