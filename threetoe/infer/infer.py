"""The inference flow: a run's own prompt, its stop ids and strings, only the answer printed."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from threetoe.backend import token_rows
from threetoe.backend.adapter import check_adapter, is_adapter, rows_of_adapter
from threetoe.backend.generate import generate
from threetoe.backend.model import read_model_config
from threetoe.backend.reply import Reply, frame_of
from threetoe.errors import Checks, UserError
from threetoe.hooks.calls import Hooks, Owned
from threetoe.hooks.load import load_plugins
from threetoe.infer import metrics
from threetoe.infer.questions import Question, read_questions
from threetoe.machine import processes
from threetoe.machine.files import check_writable
from threetoe.machine.libraries import load_unsloth
from threetoe.machine.terminal import Progress, clear_line, say, show_progress, visible
from threetoe.options.infer import InferConfig
from threetoe.prompt.encode import prompt_ids
from threetoe.prompt.template import Template
from threetoe.run import base, contract, record
from threetoe.run.contract import recorded
from threetoe.run.latest import describe


class InferPlan(NamedTuple):
    """A call whose run, questions and output have been checked."""

    config: InferConfig
    hooks: Hooks
    folder: Path
    run: record.Run
    template: Template | None  # of --template
    questions: list[Question]
    metrics: dict[str, Owned]  # none where no answer is expected


def plan_inference(config: InferConfig) -> InferPlan:
    """Check all that can be checked without torch; one UserError with all problems."""
    checks = Checks(config.problems)
    checks(processes.check_alone)
    hooks = load_plugins(config, checks, recorded(config))
    template = checks(contract.asked_template, config, hooks)
    checks(base.check_model, config.model)
    found = checks(contract.find_run, config, template, config.model, "--model")
    questions = checks(read_questions, config, hooks)
    expects = any(question.expected is not None for question in questions or ())
    functions = checks(hooks.owned, "register_metrics", config=config) if expects else {}
    checks(check_output, config, expects)
    if found:
        checks(check_weights, *found, config)
    checks.done()
    hooks.say_notes()
    if not config.run:
        say(f"asking {describe(*found)}")
    return InferPlan(config, hooks, *found, template, questions, functions)


def check_weights(folder: Path, run: record.Run, config: InferConfig) -> None:
    if is_adapter(folder):
        check_adapter(folder)
        base.check_is_there(run.options["model"], folder, "--model")
        base.check_obtainable(run.options["model"], "--model")
        return
    if not (folder / "config.json").exists():
        raise UserError(f"--run {folder} holds neither an adapter nor a merged model.")
    for flag, given in (("--no-adapter", not config.adapter), ("--model", config.model)):
        if given:
            raise UserError(f"{flag}: {folder} holds a merged model, whose base is not apart.")


def check_output(config: InferConfig, expects: bool) -> None:
    if config.output is None:
        return
    figures = [metrics.place_beside(config.output)] if expects else []
    for path in (config.output, *figures):
        if path.exists():
            raise UserError(f"--output {config.output}: {path} exists already; name another file.")
    if not config.output.parent.is_dir():
        raise UserError(f"--output {config.output}: there is no folder {config.output.parent}.")
    check_writable(config.output, "--output")


def infer(config: InferConfig) -> None:
    """Answer the questions; answers to standard output or --output, the rest to stderr."""
    job, *loaded = load(config)
    if not (config.file or config.output):
        return show(job, *loaded)
    answers = write(answer(job, *loaded), job)
    if answers:
        metrics.evaluate(job.metrics, answers, config, job.folder)
    job.hooks.end()


def ask(config: InferConfig) -> list[tuple[Question, str]]:
    """Every question with its answer, in the order of the questions; neither is printed."""
    job, *loaded = load(config)
    replies = {id(question): reply for question, reply, _ in answer(job, *loaded)}
    job.hooks.end()
    return [(question, replies[id(question)]) for question in job.questions]


def load(config: InferConfig) -> tuple:
    """(plan, model, tokenizer, the questions' ids) once all is checked."""
    job, tokenizer = load_tokenizer(plan_inference(config))
    job, prompts = encode_questions(job, tokenizer)
    model = load_model(job, max(map(len, prompts)) + config.max_new_tokens)
    return job, model, tokenizer, prompts


def load_tokenizer(job: InferPlan) -> tuple:
    """The plan with the run's record as its tokenizer settles it, and that tokenizer."""
    load_unsloth()
    show_progress(f"loading {job.run.options['model']}")
    tokenizer = contract.load_tokenizer(job.folder, job.run)
    run = contract.settled(job.folder, job.run, job.template, tokenizer, job.config)
    return job._replace(run=run), tokenizer


def load_model(job: InferPlan, longest: int):
    """The run's model; `longest` in tokens, question and answer: longer ones Unsloth cuts on a
    GPU. Never for more than its base reads: beyond that, Unsloth changes RoPE for all answers."""
    trained = job.run.the_config(plugin=job.config.plugin)
    merged = not is_adapter(job.folder)
    known = read_model_config(str(job.folder) if merged else job.run.options["model"])
    length = max(job.run.options.get("max_seq_length", 0), longest)
    length = min(length, known.max_position_embeddings)
    trained = replace(trained, max_seq_length=length)
    model = job.hooks.first("load_model", config=trained, adapter=job.folder)
    if rows_of_adapter(job.folder):
        token_rows.put_in_place(model, trained=job.config.adapter)
    clear_line()
    return model


def encode_questions(job: InferPlan, tokenizer) -> tuple[InferPlan, list[list[int]]]:
    """The plan with its questions as map_request of plugins leaves them, and their ids."""
    template, marks = job.run.the_template(), job.run.the_marks()
    asked = []
    for question in job.questions:
        messages, _ = job.hooks.chain(
            "map_request", "messages", question.messages, config=job.config
        )
        asked.append(question._replace(messages=messages))
    prompts = [prompt_ids(template.prompt(q.messages, marks), tokenizer) for q in asked]
    return job._replace(questions=asked), prompts


def answer(job: InferPlan, model, tokenizer, prompts: list[list[int]], show=None):
    """Yields (question, answer, whether it was cut: Reply.cut) as batches are done; `show` is given
    an answer's parts before."""
    frame = frame_of(job.run.the_template(), job.run.the_marks(), job.run.stop_ids)
    replies = [Reply(tokenizer, frame, show) for _ in prompts]
    for index in generate(model, tokenizer, prompts, replies, job.config):
        question, reply = job.questions[index], replies[index]
        asked = {"messages": question.messages, "config": job.config}
        yield question, job.hooks.chain("map_reply", "reply", reply.text, **asked)[0], reply.cut


def show(job: InferPlan, model, tokenizer, prompts: list[list[int]]) -> None:
    """Print the one answer: as it comes, or whole where plugins have a word in it."""
    whole = job.hooks.has("map_reply")
    output = sys.stdout  # libraries' chatter is kept from the name, not from the stream

    def put(text: str) -> None:
        output.write(visible(text) if output.isatty() else text)
        output.flush()

    try:
        ((_, reply, cut),) = answer(job, model, tokenizer, prompts, None if whole else put)
    except KeyboardInterrupt:
        put("\n")
        raise
    put(reply + "\n" if whole else "\n")
    if cut == job.config.max_new_tokens:
        say(f"the answer was cut at --max-new-tokens {cut}")
    elif cut:
        say(f"the answer was cut after {cut} tokens: the model reads no more")


def write(answers, job: InferPlan) -> list[tuple[str, str]]:
    """Write a line of JSON an answer, as each batch is done; (answer, expected) of those that
    have an expected one."""
    path, pairs, total = job.config.output, [], len(job.questions)
    file = path.open("x", encoding="utf-8") if path else None  # None: standard output
    encoding, progress = "utf-8" if path else sys.stdout.encoding, Progress()
    written = cuts = 0
    escaped = encoding.lower() != "utf-8"
    try:
        for question, reply, cut in answers:
            row = {"where": question.where, "messages": question.messages, "answer": reply}
            row["cut"] = bool(cut)
            if question.expected is not None:
                row["expected"] = question.expected
                pairs.append((reply, question.expected))
            clear_line()
            print(json.dumps(row, ensure_ascii=escaped), file=file, flush=True)
            written, cuts = written + 1, cuts + bool(cut)
            progress.show(written, total, f"answered {written} of {total}")
    except KeyboardInterrupt:
        say(f"{written} of {total} answered")
        raise
    clear_line()
    if cuts:
        say(f"{cuts} of {total} answers were cut (--max-new-tokens {job.config.max_new_tokens})")
    if path:
        file.close()
    return pairs
