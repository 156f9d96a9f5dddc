"""Unsloth's part: loads a base, adds LoRA, saves the adapter.

Unsloth must be imported before transformers, trl and peft: `load_unsloth` does that.
"""

import json
import tempfile
from contextlib import contextmanager
from pathlib import Path
from shutil import copymode
from types import SimpleNamespace
from unittest.mock import patch

from threetoe.backend import token_rows
from threetoe.backend.adapter import CONFIG, is_adapter, read_config, rows_of_adapter
from threetoe.backend.checkpoint import read_base_config
from threetoe.backend.init_adapter import put_in
from threetoe.errors import Failure, UserError, first_line
from threetoe.machine.files import folder
from threetoe.machine.hub import is_hub_id, look_up
from threetoe.machine.libraries import CACHE, chatter_hidden, has_gpu
from threetoe.prompt.tokenizer import save, with_cuts

KNOWN = (OSError, ValueError, RuntimeError)  # what libraries raise themselves
GPU_MODEL = "unsloth/llama-3-8b-bnb-4bit"
TINY = "tiny"
NO_CODE = {"trust_remote_code": False}  # without it transformers asks, and a y on stdin runs it
SIZES = set(  # of a Llama's config.json
    "hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads "
    "vocab_size max_position_embeddings tie_word_embeddings dtype".split()
)


def choose_model() -> str:
    return GPU_MODEL if has_gpu() else TINY


def locate(model: str) -> str:
    """What from_pretrained takes: the embedded model's folder for `tiny`, else the name."""
    return str(folder("models") / TINY) if model == TINY else str(Path(model).expanduser())


def load_tokenizer(source: str | Path):
    """A model's or run's tokenizer, made to split at CUT; UserError when there is none."""
    import transformers
    from transformers import AutoTokenizer

    transformers.logging.set_verbosity_error()
    with failures_named(source):
        tokenizer = AutoTokenizer.from_pretrained(look_up(locate(str(source))), **NO_CODE)
    if not tokenizer.is_fast:
        raise UserError(f"--model {source}: has no fast tokenizer (tokenizer.json).")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token  # labels are masks by position, so EOS is kept
    tokenizer.padding_side = "right"
    return with_cuts(tokenizer)


def read_model_config(model: str):
    """A base's configuration (its text part); UserError when it cannot be read or is not known."""
    from transformers import AutoConfig

    with failures_named(model):
        return AutoConfig.from_pretrained(look_up(locate(model)), **NO_CODE).get_text_config()


def read_sizes(model: str):
    """What has a base's sizes as its configuration has them: for a Llama in a folder its JSON,
    without the seconds that transformers takes to be imported."""
    return read_llama(model) or read_model_config(model)


def read_llama(model: str) -> SimpleNamespace | None:
    """A Llama's configuration in a folder; None for any other."""
    path = Path(locate(model), "config.json")
    values = read_base_config(path.parent) if path.is_file() else {}
    known = values.get("model_type") == "llama" and values.keys() >= SIZES
    return SimpleNamespace(**values) if known else None


def keeps_fp32(model: str) -> bool:
    """Whether a CPU would lose what is stored: Unsloth turns fp16 and fp32 into bf16 there, in
    which a merged adapter is rounded away again."""
    stored = str(read_sizes(model).dtype).removeprefix("torch.")
    return stored in ("float16", "float32") and not has_gpu()


def check_length(config) -> None:
    """UserError when rows may be longer than the positions that the model knows."""
    known = read_sizes(config.model).max_position_embeddings
    asked = config.max_seq_length
    if asked > known:
        raise UserError(f"--max-seq-length {asked}: {config.model} reads at most {known} tokens.")


def count_token_rows(model: str) -> int:
    """How many tokens a model's embeddings have room for, padding of the vocabulary included."""
    return read_sizes(model).vocab_size


def cannot_load(model, error: Exception) -> str:
    beneath = error.__cause__ if isinstance(error, RuntimeError) else None  # Unsloth's own
    reason = first_line(beneath or error).rstrip(".")
    reason = reason if isinstance(error, KNOWN) else f"{type(error).__name__}: {reason}"
    return (
        f"{model} cannot be loaded: {reason}. Name a local folder or another Hub id with --model."
    )


@contextmanager
def failures_named(model: str | Path):
    """What can go wrong while a library reads a model's files, which may hold anything, in one
    line."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if type(error).__name__ == "OutOfMemoryError":  # torch's, which may not be imported yet
            raise Failure(
                f"{model} does not fit in the GPU's memory: name a smaller one, or one in 4 bits, "
                "with --model, and leave no other program on the GPU."
            ) from error
        raise UserError(cannot_load(model, error)) from error


def load_model(config, adapter: Path | None):
    """The base, in 4 or 16 bits, with a new LoRA adapter, or with the adapter of a run folder.

    A folder may hold merged weights instead. Where new tokens have no place among the base's rows,
    it gets more; the seed is for how those start.
    """
    import torch
    from huggingface_hub.constants import HF_HUB_CACHE
    from unsloth import FastLanguageModel

    checkpointing = {"true": True, "false": False}.get(config.use_gradient_checkpointing, "unsloth")
    base = look_up(locate(config.model))
    merged = adapter and not is_adapter(adapter)
    in_4bit = bool(config.load_in_4bit)
    rows = config.token_rows.total if config.token_rows else 0
    rows = rows_of_adapter(adapter) if adapter else rows
    wider = not in_4bit and keeps_fp32(str(adapter) if merged else config.model)
    torch.manual_seed(config.seed)
    with tempfile.TemporaryDirectory() as scratch, chatter_hidden():
        if adapter:
            base = adapter if merged else link_adapter(adapter, base, Path(scratch))
        with failures_named(config.model):
            download(str(base))
            model, _ = FastLanguageModel.from_pretrained(
                model_name=str(base),
                max_seq_length=config.max_seq_length,
                dtype=torch.float32 if wider else None,  # None: Unsloth's choice
                load_in_4bit=in_4bit,
                use_gradient_checkpointing=checkpointing,
                use_exact_model_name=True,  # or Unsloth may load another repository instead
                cache_dir=HF_HUB_CACHE,  # or Unsloth makes a tokenizer cache here on Colab
                resize_model_vocab=rows if rows and rows > count_token_rows(config.model) else None,
                offload_embedding=False,  # or a tight GPU has it elsewhere than the model
                **NO_CODE,
            )
        if adapter:
            return FastLanguageModel.for_inference(model)
        return add_adapter(model, config, checkpointing)


def download(model: str) -> None:
    """Fetch the weights of a Hub id, with a bar on a terminal: Unsloth would show none."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import disable_progress_bars, enable_progress_bars
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    if is_hub_id(model):
        enable_progress_bars()
        snapshot_download(model, allow_patterns="model*.safetensors")
        disable_progress_bars()


def add_adapter(model, config, checkpointing):
    """The model with a LoRA adapter that changes nothing yet."""
    from unsloth import FastLanguageModel

    rows = config.token_rows
    try:
        model = FastLanguageModel.get_peft_model(
            model,
            r=config.lora_r,
            lora_alpha=config.lora_alpha,
            lora_dropout=config.lora_dropout,
            target_modules=list(config.target_modules),
            use_rslora=config.use_rslora,
            use_dora=config.use_dora,
            modules_to_save=list(config.modules_to_save or ()) or None,
            bias="none",
            use_gradient_checkpointing=checkpointing,
            random_state=config.seed,
            max_seq_length=config.max_seq_length,
            temporary_location=str(CACHE / "buffers"),
            trainable_token_indices=token_rows.locate(model, rows) if rows else None,
        )
    except ValueError as error:
        names = ",".join(config.target_modules)
        raise UserError(f"--target-modules {names}: {first_line(error)}") from error
    token_rows.widen(model)
    if rows:
        token_rows.start(model, rows)
    if config.init_adapter:
        put_in(model, config.init_adapter)
    return model


def link_adapter(adapter: Path, base: str, scratch: Path) -> Path:
    """A view of an adapter folder whose config names where the base is on this machine."""
    for path in adapter.iterdir():
        if path.name != CONFIG:
            (scratch / path.name).symlink_to(path.resolve())
    config = read_config(adapter) | {"base_model_name_or_path": base}
    (scratch / CONFIG).write_text(json.dumps(config), encoding="utf-8")
    return scratch


def save_adapter(model, tokenizer, target: Path, stops: list[int]) -> None:
    """Adapter as safetensors, tokenizer, and a generation config with the trained stop ids."""
    with patch.object(model, "create_or_update_model_card"):  # unfilled; a README may be the user's
        model.save_pretrained(target, save_embedding_layers=False)  # token rows are saved anyway
    copymode(target / "adapter_config.json", target / "adapter_model.safetensors")  # or it is 0600
    save_tokenizer(tokenizer, target, stops)


def save_tokenizer(tokenizer, target: Path, stops: list[int]) -> None:
    """Tokenizer, its chat template, and a generation config with the stop ids."""
    from transformers import GenerationConfig

    save(tokenizer, target)
    GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=stops,
        pad_token_id=tokenizer.pad_token_id,
    ).save_pretrained(target)
