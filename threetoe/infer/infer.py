"""The inference flow: a run's own prompt, its stop ids and strings, only the answer printed."""

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random
from typing import NamedTuple

from threetoe.backend import token_rows
from threetoe.backend.adapter import check_adapter, is_adapter, rows_of_adapter
from threetoe.backend.generate import generate
from threetoe.backend.model import read_model_config
from threetoe.backend.reply import Reply, frame_of
from threetoe.errors import Checks, UserError
from threetoe.hooks.calls import Hooks, Owned
from threetoe.hooks.load import load_plugins
from threetoe.infer import blind, gguf, labels, metrics, output
from threetoe.infer.batches import arranged
from threetoe.infer.questions import Question, read_questions
from threetoe.machine import processes
from threetoe.machine.libraries import load_unsloth
from threetoe.machine.terminal import clear_line, say, show_progress
from threetoe.options.infer import InferConfig
from threetoe.prompt.encode import prompt_ids
from threetoe.prompt.template import Template
from threetoe.run import base, contract, record
from threetoe.run.contract import recorded
from threetoe.run.latest import describe


class Answer(NamedTuple):
    question: Question
    text: str
    cut: int = 0  # after so many tokens; 0 where it came to its end
    shares: dict[str, float] | None = None  # of --constrain-to: the probability of each
    error: str = ""  # why it could not be asked
    base: str | None = None  # what the bare base answers, with --compare-base


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
    if config.runs:
        checks.problems.append(f"--run is given {len(config.runs)} times; here one run is asked.")
    hooks = load_plugins(config, checks, recorded(config))
    template = checks(contract.asked_template, config, hooks)
    checks(base.check_model, config.model)
    found = checks(contract.find_run, config, template, config.model, "--model")
    questions = checks(read_questions, config, hooks)
    expects = any(question.expected is not None for question in questions or ())
    functions = checks(hooks.owned, "register_metrics", config=config) if expects else {}
    checks(output.check_output, config, expects)
    checks(metrics.check_asked, config, expects)
    checks(check_sampling, config)
    if found:
        checks(check_weights, *found, config)
        config = checks(metrics.placed, config, found[0])
    checks.done()
    hooks.say_notes()
    if not config.run:
        say(f"asking {describe(*found)}")
    asked = [question for question in questions for _ in range(config.n)]
    asked = [question._replace(number=number) for number, question in enumerate(asked)]
    return InferPlan(config, hooks, *found, template, asked, functions)


def check_weights(folder: Path, run: record.Run, config: InferConfig) -> None:
    if contract.is_gguf(folder):
        return gguf.check(folder, config)
    weights = run.options["model"] if is_adapter(folder) else str(folder)
    if config.load_in_4bit is False and base.is_prequantised(weights):
        raise UserError(f"--no-load-in-4bit: {weights} is stored in 4 bits.")
    if is_adapter(folder):
        check_adapter(folder)
        base.check_is_there(run.options["model"], folder, "--model")
        base.check_obtainable(run.options["model"], "--model")
        return base.check_base_fits(folder, run.options["model"], bool(config.model))
    if not (folder / "config.json").exists():
        raise UserError(f"--run {folder} holds neither an adapter nor a merged model.")
    apart = {"--no-adapter": not config.adapter, "--compare-base": config.compare_base}
    for flag, given in {**apart, "--model": config.model}.items():
        if given:
            raise UserError(f"{flag}: {folder} holds a merged model, whose base is not apart.")


def check_sampling(config: InferConfig) -> None:
    """UserError where an option would change nothing."""
    given = {"--top-p": config.top_p, "--top-k": config.top_k, "--min-p": config.min_p}
    flags = [f"{flag} {value}" for flag, value in given.items() if value]
    flags += [f"--n {config.n}"] if config.n > 1 else []
    if flags and not config.temperature:
        raise UserError(
            f"{', '.join(flags)}: changes nothing while every answer is the likeliest; sample with "
            "--temperature 0.7, for one."
        )
    if len(config.constrain_to) == 1:
        raise UserError(f"--constrain-to {config.constrain_to[0]}: one answer leaves no choice.")


def infer(config: InferConfig) -> None:
    """Answer the questions; answers to standard output or --output, the rest to stderr."""
    job = plan_inference(config)
    begun = output.read_begun(job)
    left, *loaded = load(job, begun)
    as_rows = config.file or config.output or config.n > 1 and not sys.stdout.isatty()
    if not as_rows:
        return output.show(left, partial(answer, left, *loaded))
    give = answer_both if config.compare_base else answer
    rows = output.write(give(left, *loaded), job, begun)
    if job.metrics:
        metrics.evaluate(job.metrics, rows, job.config, job.folder)
    if config.blind:
        blind.compare(rows, job.config)
    job.hooks.end()


def ask(config: InferConfig) -> list[tuple[Question, str]]:
    """Every question with its answer, in the order of the questions; neither is printed."""
    job, *loaded = load(plan_inference(config))
    replies = {given.question.number: given.text for given in answer(job, *loaded)}
    job.hooks.end()
    return [(question, replies[question.number]) for question in job.questions]


def load(job: InferPlan, but=(), loading=None) -> tuple:
    """(plan, model, tokenizer, the questions' ids) without the questions of some numbers."""
    left = [question for question in job.questions if question.number not in but]
    config = replace(job.config, seed=job.config.seed + len(but))  # no sample is drawn again
    job = job._replace(questions=left, config=config)
    job, tokenizer = load_tokenizer(job)
    job, prompts = encode_questions(job, tokenizer)
    longest = max(map(len, prompts), default=0) + job.config.max_new_tokens
    return job, (loading or load_model)(job, longest), tokenizer, prompts


def load_tokenizer(job: InferPlan) -> tuple:
    """The plan with the run's record as its tokenizer settles it, and that tokenizer."""
    show_progress(f"loading {job.run.options['model']}")
    if contract.is_gguf(job.folder):
        return job, gguf.opened(job.folder, job.template)
    load_unsloth()
    tokenizer = contract.load_tokenizer(job.folder, job.run)
    run = contract.settled(job.folder, job.run, job.template, tokenizer, job.config)
    return job._replace(run=run), tokenizer


def load_model(job: InferPlan, longest: int):
    """The run's model; `longest` in tokens, question and answer: longer ones Unsloth cuts on a
    GPU. Never for more than its base reads: beyond that, Unsloth changes RoPE for all answers."""
    if contract.is_gguf(job.folder):
        return gguf.opened(job.folder, job.template)
    trained = job.run.the_config(plugin=job.config.plugin)
    merged = not is_adapter(job.folder)
    known = read_model_config(str(job.folder) if merged else job.run.options["model"])
    length = max(job.run.options.get("max_seq_length", 0), longest)
    length = min(length, known.max_position_embeddings)
    in_4bit = trained.load_in_4bit and not merged
    in_4bit = in_4bit if job.config.load_in_4bit is None else job.config.load_in_4bit
    trained = replace(trained, max_seq_length=length, load_in_4bit=in_4bit)
    model = job.hooks.first("load_model", config=trained, adapter=job.folder)
    both = job.config.chat or job.config.web or job.config.compare_base  # asked by turns
    if rows_of_adapter(job.folder) and not both:
        token_rows.put_in_place(model, trained=job.config.adapter)
    clear_line()
    return model


def encode_questions(job: InferPlan, tokenizer) -> tuple[InferPlan, list[list[int]]]:
    """The plan with its questions as map_request of plugins leaves them, and their ids."""
    asked = []
    for question in job.questions:
        messages, _ = job.hooks.chain(
            "map_request", "messages", question.messages, config=job.config
        )
        asked.append(question._replace(messages=messages))
    if contract.is_gguf(job.folder):
        return job._replace(questions=asked), [tokenizer.ids(q.messages) for q in asked]
    template, marks = job.run.the_template(), job.run.the_marks()
    prompts = [prompt_ids(template.prompt(q.messages, marks), tokenizer) for q in asked]
    return job._replace(questions=asked), prompts


def answer(job: InferPlan, model, tokenizer, prompts: list[list[int]], show=None):
    """Yields an Answer as batches are done; `show` is given an answer's parts before. A row of
    --file that cannot be asked has its error instead; it ends nothing."""
    given = choose if job.config.constrain_to else speak
    most = model.config.max_position_embeddings - 1  # beside one token of the answer
    fit = [n for n, prompt in enumerate(prompts) if len(prompt) <= most or not job.config.file]
    short = [prompts[n] for n in fit]
    job = job if contract.is_gguf(job.folder) else arranged(job, model, tokenizer, short)
    for place, text, cut, shares in given(job, model, tokenizer, short, show):
        question = job.questions[fit[place]]
        asked = {"messages": question.messages, "config": job.config}
        text, _ = job.hooks.chain("map_reply", "reply", text, **asked)
        yield Answer(question, text, cut, shares)
    for number in set(range(len(prompts))) - set(fit):
        error = f"the question has {len(prompts[number])} tokens; the model reads {most}"
        yield Answer(job.questions[number], "", error=error)


def answer_both(job: InferPlan, model, tokenizer, prompts: list[list[int]]):
    """Yields an Answer with the base's beside it, batch by batch, as answer() does."""
    fit = [prompt for prompt in prompts if len(prompt) < model.config.max_position_embeddings]
    job = arranged(job, model, tokenizer, fit)  # once for both
    bare = job._replace(config=replace(job.config, adapter=False))
    asked = [answer(one, model, tokenizer, prompts) for one in (bare, job)]
    found = {}, {}
    for pair in zip(*asked, strict=True):
        for answers, given in zip(found, pair, strict=True):
            answers[given.question.number] = given
        for number in found[0].keys() & found[1].keys():
            base, given = (answers.pop(number) for answers in found)
            yield given._replace(base=base.text)


def speak(job: InferPlan, model, tokenizer, prompts: list[list[int]], show=None):
    """Yields (index of a prompt, the answer, Reply.cut, None)."""
    if contract.is_gguf(job.folder):
        yield from gguf.speak(job.config, model, prompts, show)
        return
    frame = frame_of(job.run.the_template(), job.run.the_marks(), job.run.stop_ids)
    frame = frame._replace(strings=(*frame.strings, *job.config.stop))
    replies = [Reply(tokenizer, frame, show) for _ in prompts]
    for index in generate(model, tokenizer, prompts, replies, job.config):
        yield index, replies[index].text, replies[index].cut, None


def choose(job: InferPlan, model, tokenizer, prompts: list[list[int]], show=None):
    """Yields (index of a prompt, one of --constrain-to, 0, the probability of each)."""
    names, chance = job.config.constrain_to, Random(job.config.seed)
    ids = labels.ids_of(names, job.run, tokenizer)
    for index, shares in labels.probabilities(model, tokenizer, prompts, ids, job.config):
        name = names[labels.chosen(shares, job.config.temperature, chance)]
        if show:
            show(name)
        yield index, name, 0, dict(zip(names, shares, strict=True))
