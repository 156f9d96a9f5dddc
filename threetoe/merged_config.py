"""config.json of a merged model, from its base's and from what the merge says it did."""

from pathlib import Path

from threetoe.shards import read_json


def merged_config(base: Path, facts: dict, stop_ids: list[int]) -> dict:
    """The base's values with dtype, size of the vocabulary and stop ids as they now are.

    `facts` is what merge() or merge_4bit() returned.
    """
    values = read_json(base / "config.json")
    for name in ("quantization_config", "torch_dtype"):
        values.pop(name, None)
    values |= {"dtype": facts["dtype"], "eos_token_id": stop_ids}
    if facts["vocab_size"]:
        values.get("text_config", values)["vocab_size"] = facts["vocab_size"]
    if "quantization_config" in facts:
        values["quantization_config"] = facts["quantization_config"]
    if facts["split"]:
        values["tie_word_embeddings"] = False
        if "text_config" in values:
            values["text_config"]["tie_word_embeddings"] = False
    return values
