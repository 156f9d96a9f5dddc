"""infer.py --serve: a run behind an OpenAI-compatible address, by an engine that is here, with what
export.py writes for it."""

from dataclasses import fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from threetoe.backend.adapter import is_adapter
from threetoe.backend.model import read_sizes
from threetoe.errors import Checks, UserError
from threetoe.export.export import export
from threetoe.export.gguf.gguf import check_gguf
from threetoe.export.verify import verify
from threetoe.infer import gguf
from threetoe.infer import serve as engines
from threetoe.infer.infer import InferPlan, plan_inference
from threetoe.infer.web import LOCAL, check_port
from threetoe.machine.libraries import has_gpu, quieten
from threetoe.machine.records import read_json
from threetoe.machine.terminal import say
from threetoe.options.export import ExportConfig
from threetoe.options.infer import InferConfig
from threetoe.prompt.encode import prompt_ids
from threetoe.run import contract

TYPES = {"float32": "f32", "float16": "f16"}  # of a GGUF file, by the base's; of all others bf16
SYSTEM, ASK, ANSWER = contract.SYSTEM, contract.ASK, contract.ANSWER
PROBES = [ASK], [ASK, ANSWER, ASK], [SYSTEM, ASK]  # what the engine must read as was trained
IN_REQUESTS = ("system", "adapter", "share")  # and all options of an answer


def serve(config: InferConfig) -> None:
    """Serve until Ctrl-C. What would stop it is found before a model is loaded or written."""
    checks = Checks(config.problems)
    checks(check_port, config.host, config.port)
    checks(check_given, config)
    job = plan_inference(replace(config, problems=tuple(checks.problems)))
    config = replace(config, run=job.folder)
    check_plugins(job)
    if contract.is_gguf(job.folder):
        return serve_gguf(job, config)
    engine, why = choose_engine(job)
    if why:
        say(why)
    if config.host not in LOCAL:
        say("anyone who has the address can ask")
    quieten()
    tokenizer = contract.load_tokenizer(job.folder, job.run)
    run = contract.settled(job.folder, job.run, job.template, tokenizer, config)
    job, template, marks = job._replace(run=run), run.the_template(), run.the_marks()
    if engine is engines.llama_cpp:
        file = min(exported(job, "gguf").glob("*.gguf"))
        asked = contract.rendered(template, marks, PROBES)
        prompts = [(messages, prompt_ids(pieces, tokenizer)) for messages, pieces in asked]
        reads = read_sizes(run.options["model"]).max_position_embeddings
        return engine(file, prompts, template.stops(marks), reads, config)
    merged = exported(job, "merged") if is_adapter(job.folder) else job.folder
    with TemporaryDirectory() as scratch:
        place = Path(scratch, job.folder.resolve().name)
        place.mkdir()
        contract.write_folder(merged, run, tokenizer, place)
        engines.run_program(engine, place, config)


def serve_gguf(job: InferPlan, config: InferConfig) -> None:
    """Under its own chat template, or a named one."""
    stops, jinja = [], ""
    if job.template:
        marks = gguf.marks_of(job.folder)
        stops, jinja = job.template.stops(marks), job.template.gguf_jinja(marks)
    engines.llama_cpp(job.folder, [], stops, gguf.reads(job.folder), config, jinja)


def check_given(config: InferConfig) -> None:
    """UserError for options that every request brings itself."""
    default = InferConfig()
    given = [
        f"--{'no-' * (f.name == 'adapter')}{f.name.replace('_', '-')}"
        for f in fields(config)
        if (f.name in IN_REQUESTS or f.metadata.get("group") == "Answer")
        and getattr(config, f.name) != getattr(default, f.name)
    ]
    if config.load_in_4bit is not None:
        raise UserError(
            "--serve: an export has the bits that it was written with, as in export.py --gguf "
            "q4_k_m; leave --load-in-4bit out."
        )
    if given:
        raise UserError(f"--serve: each request says how it is answered; leave {given[0]} out.")


def check_plugins(job: InferPlan) -> None:
    for hook in ("map_request", "map_reply"):
        if job.hooks.has(hook):
            raise UserError(
                f"--serve: a plugin has {hook}, which no engine calls; --web does, and "
                "--no-run-plugins leaves a run's own out."
            )


def choose_engine(job: InferPlan) -> tuple:
    """(a function of infer/serve.py, why it is not the one before it)"""
    if engines.is_installed("vllm") and has_gpu():
        return engines.vllm, ""
    if not is_adapter(job.folder):
        why = f"{job.folder} holds no adapter, of which a GGUF file is made"
    elif not engines.is_installed("xllamacpp", "gguf"):
        why = 'llama.cpp is not here: pip install -e ".[serve]"'
    else:
        try:
            check_gguf(job.run, job.folder, ExportConfig())
            return engines.llama_cpp, ""
        except UserError as error:
            why = error.problems[0]
    if engines.is_installed("fastapi", "uvicorn", "openai"):
        return engines.transformers, why
    raise UserError(
        f"--serve: {why}; vLLM needs a GPU and to be installed, and transformers serve pip install "
        '"transformers[serving]".'
    )


def exported(job: InferPlan, kind: str) -> Path:
    """The folder beside the run with its export of a kind, which is written and proven, unless it
    is there, proven, and of the run as it is now."""
    folder = job.folder if job.folder.name else job.folder.resolve()  # --run .
    place = folder.with_name(f"{folder.name}-{kind}")
    if not place.exists():
        config = job.config
        asked = ExportConfig(
            run=job.folder, base=config.model, template=config.template, plugin=config.plugin,
            force_template=config.force_template, settings=config.settings,
            run_plugins=config.run_plugins,
        )  # fmt: skip
        where = {"gguf": (gguf_type(job.run),), "gguf_dir": place} if kind == "gguf" else {}
        export(replace(asked, **where or {kind: place}))
    elif not is_proven(place, job):
        raise UserError(
            f"--serve: {place} is in the way, and by its {verify.FILE} no proven export of "
            f"{job.folder} as it is now; move it, and it is written anew."
        )
    return place


def is_proven(place: Path, job: InferPlan) -> bool:
    path = place / verify.FILE
    found = read_json(path) if path.exists() else {}
    there = [*place.glob("*.gguf"), *place.glob("*.safetensors")]  # may have been moved since
    ours = found.get("run") == verify.source(job.folder, job.run)
    return bool(there) and found.get("passed") is True and ours


def gguf_type(run) -> str:
    """The base's own, in which nothing is lost; 8 bits where the run trained with 4."""
    if run.options.get("load_in_4bit"):
        return "q8_0"
    dtype = read_sizes(run.options["model"]).dtype
    return TYPES.get(str(dtype).removeprefix("torch."), "bf16")
