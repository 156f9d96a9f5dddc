"""What a model card tells, gathered from a run's record, its folder and the export itself."""

from pathlib import Path
from shutil import copyfile

from threetoe.backend import model as backend
from threetoe.export.card.metadata import datasets_in
from threetoe.machine.files import named_files
from threetoe.machine.hub import answers_within, is_hub_id
from threetoe.machine.records import read_json
from threetoe.options.train import TrainConfig, options_of
from threetoe.prompt.pieces import show_pieces
from threetoe.run.losses import picture_in, read_points
from threetoe.run.probes import read
from threetoe.run.record import CONFUSION, METRICS, Run
from threetoe.run.told import evaluations_in

EXAMPLE = [{"role": "user", "content": "Your question"}, {"role": "assistant", "content": "Answer"}]
PICTURE = "training.png"
LICENSE = ("license", "license_name", "license_link")
SECONDS = 5  # for the Hub to tell a licence


def facts_of(run: Run, source: Path, folder: Path, ask_hub: bool = False) -> dict:
    """The facts for card.render_card. `source` is the run's folder, `folder` the export, which
    gets its loss curve; with `ask_hub` the Hub may be asked for the base's licence."""
    template = run.the_template()
    example = show_pieces(template.pieces(EXAMPLE, run.the_marks()), colour=False)
    drawn = picture_in(source)
    if drawn:
        copyfile(drawn, folder / PICTURE)
    confusion = picture_in(source, CONFUSION)
    if confusion:
        copyfile(confusion, folder / CONFUSION)
    proof = folder / "verify.json"
    return {
        "name": Path(run.options.get("output_dir") or run.options["model"]).name,
        "model": run.options["model"],
        "license": license_of(run.options["model"], ask_hub),
        "vocab_size": run.vocab_size,
        "precision": run.precision,
        "template": {"name": template.name, "example": example},
        "options": run.options,
        "defaults": options_of(TrainConfig()) if run.data else {},
        "data": run.data,
        "metrics": run.metrics,
        "packages": run.packages,
        "evaluations": told_with_the_base(evaluations_in(source)),
        "sample": sample_of(datasets_in(run.options), source),
        "curve": read_points(source / METRICS),
        "picture": PICTURE if drawn else None,
        "confusion": CONFUSION if confusion else None,
        "verify": read_json(proof) if proof.is_file() else {},
        "gguf": sorted(path.name for path in folder.glob("*.gguf")),
        "modelfile": (folder / "Modelfile").is_file(),
    }


def check_records(source: Path) -> None:
    """UserError when what is told of a run's folder, or asked of it, is damaged."""
    read_points(source / METRICS), evaluations_in(source), read(source)


def told_with_the_base(rows: list[dict]) -> list[dict]:
    """Those that may be told: that nothing was exactly right says something only beside what the
    base alone has."""
    base = [(row["file"], row.get("split")) for row in rows if not row["adapter"]]
    return [
        row for row in rows
        if row["metrics"].get("exact") != 0 or (row["file"], row.get("split")) in base
    ]  # fmt: skip


def sample_of(datasets: list[str], source: Path) -> dict | None:
    """Question and answer of a row that a run kept, where its data are public by their names: of a
    file of one's own no row is published."""
    named = named_files("datasets")
    if not (datasets and all(name in named or is_hub_id(name) for name in datasets)):
        return None
    for row in read(source):
        if [message["role"] for message in row[-2:]] == ["user", "assistant"]:
            asked = [row[-2]["content"], row[-2].get("input")]
            return {"question": "\n".join(filter(None, asked)), "answer": row[-1]["content"]}
    return None


def license_of(model: str, ask_hub: bool) -> dict:
    """The licence that a base's card states, as metadata; {} where nothing says."""
    folder = Path(backend.locate(model))
    readme = folder / "README.md"
    if not folder.is_dir():
        if not is_hub_id(model):
            return {}
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(model, "README.md")
        readme = Path(found) if isinstance(found, str) else readme
    values = stated_in(readme) if readme.is_file() else {}
    if not values.get("license") and ask_hub and not folder.is_dir():
        values = asked_of_hub(model)
    return {name: values[name] for name in LICENSE if values.get(name)}


def stated_in(readme: Path) -> dict:
    from huggingface_hub.repocard import metadata_load

    try:
        return metadata_load(readme) or {}
    except (ValueError, OSError):  # no YAML, or none that can be read
        return {}


def asked_of_hub(model: str) -> dict:
    """The metadata of a model on the Hub; {} when it does not answer, since a card can do
    without."""
    import httpx
    from huggingface_hub import HfApi

    try:
        with answers_within(SECONDS):
            stated = HfApi().model_info(model, timeout=SECONDS).card_data
            return stated.to_dict() if stated else {}
    except (httpx.HTTPError, OSError, ValueError):
        return {}
