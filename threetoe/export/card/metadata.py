"""The YAML head of a model card, as the Hub reads it: hf.co/docs/hub/model-cards."""

import math
import re
from pathlib import PureWindowsPath

from threetoe.machine.hub import is_hub_id

TASK = "text-generation"
TYPES = {
    "exact": "exact_match",
    "accuracy": "accuracy",
    "macro_f1": "f1",
}  # our names of metrics: the Hub's


def metadata(facts: dict, words, title: str) -> str:
    """The YAML between the lines of dashes; a base or data in a local folder stay out of it.
    `words` is a CardWords."""
    from huggingface_hub import ModelCardData

    base = facts["model"] if is_hub_id(facts["model"]) else None
    language = dict(map(tuple, facts["options"].get("dataset_option") or [])).get("lang")
    results = [result for row in facts["evaluations"] for result in results_of(row)]
    return ModelCardData(
        base_model=base,
        base_model_relation=words.relation if base else None,
        **facts["license"],
        language=[language] if language and re.fullmatch("[a-z]{2,3}", language) else None,
        datasets=list(filter(is_hub_id, datasets_in(facts["options"]))) or None,
        library_name=words.library,
        pipeline_tag=TASK,
        tags=[*words.tags, "sft", "unsloth", "threetoe"],
        model_name=title,
        eval_results=results or None,
    ).to_yaml()


def datasets_in(options: dict) -> list[str]:
    """Their names, of a mixture without the shares."""
    named = options.get("dataset") or ()
    return [name.partition(":")[0] for name in ([named] if isinstance(named, str) else named)]


def results_of(row: dict):
    """The figures of an evaluation of the model, not of its base. A share of 0 says nothing without
    the base's beside it, for which there is no place here."""
    from huggingface_hub import EvalResult

    file, figures = row["file"], row["metrics"].items()
    named = file if is_hub_id(file) else PureWindowsPath(file).stem
    for name, value in figures if row["adapter"] else ():
        if math.isfinite(value) and (value or name not in TYPES):
            yield EvalResult(
                task_type=TASK, task_name="Text generation", dataset_name=named, dataset_type=named,
                dataset_split=row.get("split"), metric_type=TYPES.get(name, name),
                metric_name=name, metric_value=value,
            )  # fmt: skip
