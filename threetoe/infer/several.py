"""Several --run asked the same, each under its own template; a shared base is loaded once."""

import sys
from dataclasses import replace

from threetoe.backend.adapter import is_adapter, rows_of_adapter
from threetoe.backend.generate import adapter_name
from threetoe.errors import Checks, UserError
from threetoe.infer import infer as flow
from threetoe.infer import metrics, output
from threetoe.infer.questions import piped_in
from threetoe.infer.tables import side_by_side
from threetoe.machine.terminal import say
from threetoe.options.infer import InferConfig
from threetoe.run.told import names_of


def each(config: InferConfig) -> dict[str, InferConfig]:
    """The call for each run by the run's name, which tells it from the others."""
    runs = [run.resolve() for run in config.runs]
    if twice := [run for run in runs if runs.count(run) > 1]:
        raise UserError(f"--run {twice[0]} is given twice.")
    found, path = {}, config.output
    for number, (given, name) in enumerate(zip(config.runs, names_of(runs), strict=True), 1):
        label = number if "/" in name else name
        own = path and path.with_name(f"{path.stem}.{label}{path.suffix}")
        found[name] = replace(config, run=given, runs=(), output=own)
    return found


class Share:
    """Loads the model of a run: into one that was loaded before, where its base is the same."""

    def __init__(self, keeps: bool):
        self.keeps = keeps  # those of other bases
        self.held: list[tuple] = []

    def __call__(self, job: flow.InferPlan, longest: int):
        for before, model in self.held:
            needed = min(longest, model.config.max_position_embeddings)
            if is_shared(before, job) and needed <= model.max_seq_length:
                model.load_adapter(str(job.folder), adapter_name=adapter_name(job.config.run))
                return model
        if self.held and self.keeps:
            say(f"{job.folder} shares no base with them: its model is loaded beside")
        elif self.held:
            self.held = []
        model = flow.load_model(job, longest)
        self.held.append((job, model))
        return model


def is_shared(one: flow.InferPlan, other: flow.InferPlan) -> bool:
    """Whether the base of one run serves another: the same, in as many bits, without token rows,
    which would be seen by both, and loaded by no plugin."""
    jobs = one, other
    bases = {(j.run.options["model"], j.run.options.get("load_in_4bit")) for j in jobs}
    return len(bases) == 1 and not any(
        not is_adapter(j.folder) or rows_of_adapter(j.folder) or j.hooks.by_plugins("load_model")
        for j in jobs
    )


def infer(config: InferConfig) -> None:
    """A question is answered by each run in turn; a file has all answers beside each row."""
    if config.file and not config.output:
        raise UserError("Several --run with --file need --output: a row has the answer of each.")
    if config.compare_base:
        raise UserError("--compare-base compares one --run with its base; several were given.")
    if config.prompt is None and not config.file and not sys.stdin.isatty():
        config = replace(config, prompt=piped_in())
    checks, calls = Checks(), each(config)
    checks(output.check_output, config, False)
    jobs = {name: checks(flow.plan_inference, call) for name, call in calls.items()}
    checks.done()
    share = Share(keeps=False)
    found = {name: answers_of(job, name, share) for name, job in jobs.items()}
    if config.output:
        asked = next(iter(jobs.values())).questions
        output.finish(config.output, side_by_side(asked, found, config.output.suffix == ".csv"))
        for job in jobs.values():
            output.partial_of(job.config.output).unlink(missing_ok=True)
    for name, job in jobs.items():
        if config.output and job.metrics:  # the last step: a call that goes on finds no figures
            say(f"{name}:")
            metrics.evaluate(job.metrics, found[name], job.config, job.folder)
        job.hooks.end()


def answers_of(job: flow.InferPlan, name: str, share: Share) -> list[dict]:
    """The rows of a run's answers; printed where there is no --output."""
    say(f"{name}:")
    begun = output.read_begun(job)
    left, *loaded = flow.load(job, begun, share)
    if not job.config.output:
        output.show(left, lambda show: flow.answer(left, *loaded, show))
        return []
    return output.gather(flow.answer(left, *loaded), job, begun)
