"""A GGUF file for the proof: its weights through transformers' own reader, its tokenizer, stop ids
and chat template against the run's."""

from collections.abc import Callable
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

from threetoe.backend.checkpoint import FLOATS
from threetoe.errors import first_line
from threetoe.export.verify.weights import load_whole
from threetoe.prompt.pieces import CUT
from threetoe.run.contract import PROBES, first_apart, rendered
from threetoe.run.probes import Prompt
from threetoe.run.record import Run


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


def dtypes(file: Path) -> Callable:
    """The function that says of a tensor, by transformers' name, float32, float16, bfloat16, or
    None where it has fewer bits."""
    from gguf import MODEL_ARCH_NAMES, GGUFReader, get_tensor_name_map

    reader = GGUFReader(file)
    kinds = {tensor.name: FLOATS.get(tensor.tensor_type.name) for tensor in reader.tensors}
    asked = reader.fields["general.architecture"].contents()
    arch = next(arch for arch, name in MODEL_ARCH_NAMES.items() if name == asked)
    names = get_tensor_name_map(arch, reader.fields[f"{asked}.block_count"].contents())
    return lambda name: kinds.get(names.get_name(name, try_suffixes=(".weight", ".bias")))


def load(file: Path):
    """The model of a GGUF file, its weights expanded by transformers."""
    with redirect_stderr(StringIO()):  # progress, which no setting of transformers hides
        return load_whole(file.parent, gguf_file=file.name)
