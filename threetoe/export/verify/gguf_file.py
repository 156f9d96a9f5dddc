"""A GGUF file for the proof: its weights through transformers' own reader, its tokenizer, stop ids
and chat template against the run's."""

from collections.abc import Callable
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

from threetoe.errors import first_line
from threetoe.export.verify.reference import run as run_model
from threetoe.export.verify.weights import load_whole
from threetoe.prompt.pieces import CUT
from threetoe.run.contract import PROBES, first_apart, rendered
from threetoe.run.probes import Prompt
from threetoe.run.record import Run

# The gguf package reads K-quants and does not make them: what rounding to them costs is measured
# with an older type of as many bits.
STAND_INS = {"Q2_K": "Q4_0", "Q3_K": "Q4_0", "Q4_K": "Q4_0", "Q5_K": "Q5_0", "Q6_K": "Q5_1"}


def problems(file: Path, run: Run, prompts: list[Prompt], tokenizer) -> list[str]:
    """A line for each kind of difference in tokens, stop ids and chat template."""
    from gguf import GGUFReader

    try:
        fields = {name: field.contents() for name, field in GGUFReader(file).fields.items()}
        found = (
            wrong_tokens(fields, tokenizer),
            wrong_stops(fields, run),
            wrong_template(fields, run, prompts, tokenizer),
        )
    except Exception as error:  # whatever a library makes of a broken file
        return [f"it cannot be read: {first_line(error)}"]
    return [line for line in found if line]


def wrong_tokens(fields: dict, tokenizer) -> str | None:
    theirs = fields["tokenizer.ggml.tokens"]
    for number, token in enumerate(tokenizer.convert_ids_to_tokens(range(len(tokenizer)))):
        if token and theirs[number] not in (token, token.replace("▁", " ")):
            return f"its token {number} is {theirs[number]!r}, and the run's {token!r}"
    return None


def wrong_stops(fields: dict, run: Run) -> str | None:
    found = {fields.get(f"tokenizer.ggml.{name}_token_id") for name in ("eos", "eot")} - {None}
    if found == set(run.stop_ids):
        return None
    return f"its stop ids are {sorted(found)}, and the run's {run.stop_ids}"


def wrong_template(fields: dict, run: Run, prompts: list[Prompt], tokenizer) -> str | None:
    """Compares texts, not ids: a GGUF file's template has no CUT (chat_template)."""
    template, marks = run.the_template(), run.the_marks()
    jinja = fields.get("tokenizer.chat_template")
    asked = [*(p.messages for p in prompts if p.messages), *PROBES]
    for messages, pieces in rendered(template, marks, asked):
        ours = marks.swallowed("".join(piece.text for piece in pieces).replace(CUT, ""))
        theirs = tokenizer.apply_chat_template(
            template.folded(messages),
            chat_template=jinja,
            add_generation_prompt=True,
            tokenize=False,
        ).replace(CUT, "")
        if ours != theirs:
            place = first_apart(ours, theirs)
            shown = repr(theirs[place : place + 20]), repr(ours[place : place + 20])
            return f"its chat template renders {shown[0]} at character {place}, not {shown[1]}"
    return None


def rounding_of(file: Path) -> tuple[Callable, bool]:
    """(rounding(name) of hollow.merge_and_round, whether a type stands in for another)."""
    from gguf import MODEL_ARCH_NAMES, GGMLQuantizationType, GGUFReader, get_tensor_name_map, quants

    reader = GGUFReader(file)
    kinds = {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
    asked = reader.fields["general.architecture"].contents()
    arch = next(arch for arch, name in MODEL_ARCH_NAMES.items() if name == asked)
    names = get_tensor_name_map(arch, reader.fields[f"{asked}.block_count"].contents())

    def rounding(name: str) -> Callable | None:
        kind = kinds.get(names.get_name(name, try_suffixes=(".weight", ".bias")))
        if kind in (None, "F32"):
            return None
        made = GGMLQuantizationType[STAND_INS.get(kind, kind)]
        return lambda weight: through(weight, made, quants)

    return rounding, any(kind in STAND_INS for kind in kinds.values())


def through(weight, kind, quants):
    """A weight in fp32 rounded to one of GGUF's types; the same shape."""
    import torch

    rounded = quants.dequantize(quants.quantize(weight.numpy(), kind), kind)
    return torch.from_numpy(rounded).view(weight.shape)


def logits_of(file: Path, sequences: list) -> list:
    """The logits of a GGUF file, its weights expanded by transformers."""
    with redirect_stderr(StringIO()):  # progress, which no setting of transformers hides
        model = load_whole(file.parent, gguf_file=file.name)
    return run_model(model, sequences)
