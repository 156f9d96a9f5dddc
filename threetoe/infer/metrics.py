"""An evaluation: what was answered beside what was expected, said and kept with the run."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

from threetoe.errors import PluginError, UserError
from threetoe.hooks.calls import Owned
from threetoe.machine.files import write_json
from threetoe.machine.terminal import say
from threetoe.options.infer import InferConfig
from threetoe.run.record import ANSWERED, CONFUSION, EVALUATIONS, METRICS
from threetoe.run.score import chance, picture, table
from threetoe.run.score.metrics import EXACT
from threetoe.run.score.score import Scores, check_packages, is_right, score


def check_asked(config: InferConfig, expects: bool) -> None:
    """UserError where --evaluate, --compare-base or --blind have nothing to work on."""
    flags = {"--evaluate": config.evaluate, "--compare-base": config.compare_base}
    flags["--blind"] = config.blind
    given = [flag for flag, value in flags.items() if value]
    if given and not config.file:
        raise UserError(f"{given[0]} goes with --file FILE: its rows are asked.")
    if config.evaluate and not expects:
        raise UserError(f"--evaluate: no row of {config.file} has an answer to compare with.")
    if config.evaluate:
        check_packages("--evaluate")
    if config.compare_base and not config.adapter:
        raise UserError("--compare-base asks base and run; leave out --no-adapter.")
    if config.blind and not config.compare_base:
        raise UserError("--blind shows answers of base and run: add --compare-base.")
    if config.blind and not sys.stdin.isatty():
        raise UserError("--blind asks you which answer is better, and needs a terminal.")


def placed(config: InferConfig, run: Path) -> InferConfig:
    """The configuration with a file in the run for the answers that --evaluate or --blind keep."""
    if config.output or not config.file or not (config.evaluate or config.blind):
        return config
    folder = run / ANSWERED
    if not is_ours(run) or folder.is_symlink():
        raise UserError(f"{run} is no run that answers can be kept in; name a file: --output FILE.")
    name = Path(config.file).stem + f"-{config.dataset_split}" * (not Path(config.file).is_file())
    return replace(config, output=folder / f"{name}.jsonl")


def evaluate(functions: dict[str, Owned], rows: list[dict], config, run: Path) -> None:
    """Say the figures of rows that have an expected answer, and keep them. The answers are written
    by now, and so are the good figures when PluginError names the metrics that failed."""
    scored = [row for row in rows if "expected" in row]
    fields = {"trained" if config.adapter else "base": "answer"}
    fields = {"base": "base"} | fields if config.compare_base else fields
    expected, sides, problems = [row["expected"] for row in scored], {}, {}
    for name, field in fields.items():
        answers = [row[field] for row in scored]
        asked = functions, answers, expected, config.evaluate, config.constrain_to
        sides[name], wrong = score(*asked)
        problems |= dict.fromkeys(wrong)
    if config.evaluate and len(scored) < len(rows):
        say(f"{len(rows) - len(scored)} of {len(rows)} rows have no answer to compare with")
    changed = changes(scored, sides) if config.compare_base else {}
    show(sides, changed, config.evaluate)
    keep(sides, changed, config, run)
    if problems:
        raise PluginError(*problems)


def changes(rows: list[dict], sides: dict[str, Scores]) -> dict[str, list[dict]]:
    """The rows that base or run alone have right; of texts right is what is the same."""
    found = {"wrong to right": [], "right to wrong": []}
    for row in rows:
        base, trained = (
            is_right(row[field], row["expected"], sides["trained"]) for field in ("base", "answer")
        )
        if base != trained:
            told = {"base": row["base"], "trained": row["answer"], "expected": row["expected"]}
            kind = "wrong to right" if trained else "right to wrong"
            found[kind].append({"where": row["where"], **told})
    return found


def show(sides: dict[str, Scores], changed: dict[str, list], full: bool) -> None:
    """A table in full or of two models; of one the share that is exactly right as a sentence, then
    a line each of the other metrics."""
    (*_, last) = sides.values()
    if full or len(sides) > 1:
        say(f"{last.answers:,} answers, shares with their 95 % interval:")
        for line in table.lines(sides):
            say(line)
    else:
        right = round(last.metrics[EXACT] * last.answers)
        say(f"{right} of {last.answers} exactly right ({100 * last.metrics[EXACT]:.1f} %)")
        others = {name: value for name, value in last.metrics.items() if name != EXACT}
        width = max(map(len, others), default=0)
        for name, value in others.items():
            say(f"{name.ljust(width)}  {value:.4g}")
    if changed:
        gained, lost = map(len, changed.values())
        p = chance.said(chance.sign_test(gained, lost))
        say(f"from wrong to right {gained}, from right to wrong {lost} (sign test: {p})")


def keep(sides: dict[str, Scores], changed: dict, config, run: Path) -> None:
    """The figures, a line a model in the run, all beside --output; and the picture, if any."""
    about = {"file": config.file}
    if not Path(config.file).is_file():
        about["split"] = config.dataset_split
    for name, scores in sides.items():
        note(run, {"adapter": name != "base", **about, **scores.as_dict()})
    if config.output:
        (*_, last) = sides.values()
        kept = {"run": str(run), "adapter": config.adapter, **about, **last.as_dict()}
        if config.compare_base:
            kept |= {"base": sides["base"].as_dict(), "changed": changed}
        path = place_beside(config.output)
        write_json(path, kept)
        say(f"figures kept in {path}")
    if config.evaluate:
        draw(sides, config, run)


def draw(sides: dict[str, Scores], config, run: Path) -> None:
    """The confusion matrix, in the run where the card finds it; of the base alone beside --output,
    as where the run is somebody else's."""
    path = run / CONFUSION
    if not (is_ours(run) and config.adapter):
        path = config.output.with_name(f"{config.output.stem}.{CONFUSION}")
    path.unlink(missing_ok=True)  # of another evaluation, or a link
    (*_, last) = sides.values()
    if picture.draw(path, sides, f"{last.answers:,} rows of {Path(config.file).name}"):
        say(f"confusion matrix in {path}")


def is_ours(run: Path) -> bool:
    """Whether a folder is a run of train.py that can be written: an export has no such list."""
    return (run / METRICS).exists() and os.access(run, os.W_OK)


def note(run: Path, figures: dict) -> None:
    """Add figures to the run folder, where the model card finds them; a folder that is not ours
    keeps its own, and a link leads to another's file."""
    place = run / EVALUATIONS
    if place.is_symlink():
        say(f"{place} is a link, so the figures are not noted there")
    elif is_ours(run):
        with place.open("a", encoding="utf-8") as file:
            file.write(json.dumps(figures, ensure_ascii=False) + "\n")


def place_beside(output: Path) -> Path:
    """Where the figures of an output file are kept: answers.metrics.json for answers.jsonl."""
    return output.with_name(f"{output.stem}.metrics.json")
