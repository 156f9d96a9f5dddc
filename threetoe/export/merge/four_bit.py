"""base + adapter as a 4-bit checkpoint (bitsandbytes NF4) that plain transformers loads.

Where the base was trained on in 4 bits, it lies on NF4's levels, and to the nearest nothing of the
adapter would be left: what it changes is rounded by chance to one of the two levels beside it. Of
other bases, and with rounding="nearest", every tensor equals, bit for bit, that of merging in 16
bits, loading the result with transformers' BitsAndBytesConfig (nf4, double quantisation) and saving
it. No weight is ever held whole.
"""

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

from threetoe.backend.checkpoint import FLOATS, Stored, header_bytes, read_base_config
from threetoe.export.merge.merge import DEFAULTS, facts_of, one_thread, plan_merge
from threetoe.export.merge.nf4 import BLOCK, PARTS, STATE, on_levels, packed_size
from threetoe.export.merge.options import MergeOptions
from threetoe.export.merge.shards import begin, inputs_of, lay_out
from threetoe.export.merge.writer import Shard, write_shards

CODES = {"torch.uint8": "U8", "torch.float32": "F32"}


def merge_4bit(base: Path, adapter: Path, target: Path, options: MergeOptions = DEFAULTS) -> dict:
    """Writes base + adapter in 4 bits into the folder `target`; weights and index only.

    Options, errors, what comes back and going on after a stop are those of merge(); the `dtype` is
    that of the merged weights before they are quantised, and of those that are not. What comes
    back has quantization_config, too, for config.json.
    """
    plan = plan_merge(base, adapter, options)
    facts = facts_of(plan)
    names = linear_weights(merged_config(base, facts, []))

    def size_of(output: Stored) -> int:
        """At most, with what is needed to expand it."""
        return packed_size(output.count) if output.name in names else output.size

    def put(shard: Shard, output: Stored) -> None:
        if output.name in names:
            put_quantised(shard, output, plan.blocks_by_chance(output, on_levels))
        else:
            late = output.size % 4
            shard.put(output.name, output.dtype, output.shape, plan.pieces(output), late)

    shards = lay_out(plan.outputs, target, options.max_shard_size, size_of)
    begin(shards, ["nf4", *inputs_of(base, adapter, options)])
    with one_thread():
        write_shards(shards, put, options.progress, size_of, partial(header_room, names))
    return facts | {"quantization_config": quantization(facts["dtype"])}


def quantization(dtype: str) -> dict:
    """quantization_config as transformers writes it for a model quantised while loading."""
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    ).to_dict()


def linear_weights(config: dict) -> set[str]:
    """Names of the weights that transformers quantises in a model with this config: those of its
    linear layers but the last. The model is laid out without memory for its numbers."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.pytorch_utils import Conv1D
    from transformers.quantizers.base import get_keys_to_not_convert
    from transformers.quantizers.quantizers_utils import should_convert_module

    values = {name: value for name, value in config.items() if name != "model_type"}
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(
            AutoConfig.for_model(config["model_type"], **values)
        )
    kept = get_keys_to_not_convert(model)
    return {
        f"{name}.weight"
        for name, module in model.named_modules()
        if type(module) in (torch.nn.Linear, Conv1D) and should_convert_module(name, kept)
    }


def put_quantised(shard: Shard, output: Stored, blocks: Iterable) -> None:
    """One weight in NF4: its packed numbers, then what bitsandbytes needs to expand them."""
    import torch
    from bitsandbytes import functional

    scales = []

    def packed():
        for block in blocks:
            numbers, state = functional.quantize_4bit(block, quant_type="nf4")
            scales.append(state.absmax)
            yield raw(numbers)

    odd = output.count % 256
    shard.put(output.name, "U8", (-(-output.count // 2), 1), packed(), odd)
    absmax = torch.cat(scales)
    offset = absmax.mean()
    absmax, second = functional.quantize_blockwise(absmax - offset, blocksize=256)
    state = functional.QuantState(
        absmax, output.shape, functional.get_4bit_type("nf4", device="cpu"), BLOCK, "nf4",
        getattr(torch, FLOATS[output.dtype]), offset, second,
    )  # fmt: skip
    for part, tensor in state.as_dict(packed=True).items():
        late = odd or part.startswith("quant_state")
        dtype = CODES[str(tensor.dtype)]
        shard.put(f"{output.name}.{part}", dtype, tuple(tensor.shape), [raw(tensor)], late)


def raw(tensor) -> memoryview:
    """A tensor's bytes, sharing its memory."""
    import torch

    return memoryview(tensor.contiguous().view(-1).view(torch.uint8).numpy())


def header_room(names: set[str], outputs: list[Stored]) -> int:
    """Bytes that are enough for a shard's header, whatever its tensors' places."""
    suffixes = ["", *(f".{part}" for part in PARTS), f"{STATE}nf4"]
    listed = [o.name + s for o in outputs for s in (suffixes if o.name in names else [""])]
    largest = Stored("", "BF16", (10**12,) * 4, Path(), 10**15, 0)
    return len(header_bytes(replace(largest, name=name) for name in listed))


def merged_config(base: Path, facts: dict, stop_ids: list[int]) -> dict:
    """The base's values with dtype, size of the vocabulary and stop ids as they now are.

    `facts` is what merge() or merge_4bit() returned.
    """
    values = read_base_config(base)
    for name in ("quantization_config", "torch_dtype"):
        values.pop(name, None)
    values |= {"dtype": facts["dtype"], "eos_token_id": stop_ids}
    if facts["vocab_size"]:
        values.get("text_config", values)["vocab_size"] = facts["vocab_size"]
    if "quantization_config" in facts:
        values["quantization_config"] = facts["quantization_config"]
    if facts["split"]:
        for place in (values, values.get("text_config", {})):
            place["tie_word_embeddings"] = False
    return values
