"""A checkpoint as plain transformers runs it, without unsloth: its weights by name, and whole.

All in fp32, in which 16-bit weights are exact: what two models differ in is their weights.
"""

from collections.abc import Callable
from pathlib import Path

from threetoe.backend.checkpoint import FLOATS, list_checkpoint
from threetoe.backend.model import NO_CODE
from threetoe.errors import UserError
from threetoe.export.merge.nf4 import PARTS, STATE
from threetoe.machine.space import available_memory

FP32 = 4  # bytes
MARGIN = 3 * 10**9  # bytes for activations, logits and the libraries themselves


class Weights:
    """The tensors of a checkpoint by name; 4-bit ones are expanded, by bitsandbytes. `as_nf4(name)`
    says whether training used a 16-bit weight quantised to NF4."""

    def __init__(self, folder: Path, as_nf4: Callable = lambda name: False):
        self.folder = folder
        self.stored = {tensor.name: tensor for tensor in list_checkpoint(folder)}
        self.as_nf4 = as_nf4
        self.packed = {name.split(STATE)[0]: name for name in self.stored if STATE in name}

    def names(self) -> set[str]:
        """Those of weights, without what goes with 4-bit ones."""
        parts = {f"{weight}.{part}" for weight in self.packed for part in PARTS}
        return self.stored.keys() - parts - set(self.packed.values())

    def count(self) -> int:
        """How many numbers; a byte of a packed weight stands for two."""
        names = self.names()
        return sum(self.stored[n].count * (2 if n in self.packed else 1) for n in names)

    def dtype(self, name: str) -> str | None:
        """float32, float16 or bfloat16; None for 4 bits."""
        return None if name in self.packed else FLOATS.get(self.stored[name].dtype)

    def read(self, name: str, device="cpu"):
        """A tensor in fp32; None where there is none of that name."""
        if name not in self.stored:
            return None
        weight = self.expanded if name in self.packed else self.as_stored
        weight = weight(name, device)
        return (through_nf4(weight) if self.as_nf4(name) else weight).float()

    def as_stored(self, name: str, device):
        from safetensors import safe_open

        with safe_open(self.stored[name].file, "pt") as file:
            return file.get_tensor(name).to(device)

    def expanded(self, name: str, device):
        from bitsandbytes import functional

        parts = [key for key in self.stored if key.startswith(name + ".")]
        values = {key: self.as_stored(key, device) for key in parts}
        state = functional.QuantState.from_dict(values, device=device)
        return functional.dequantize_4bit(self.as_stored(name, device), state)


def device():
    """Where models are run: on the CUDA GPU if there is one, all sums in fp32 there, too."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def through_nf4(weight):
    """A weight in fp32, fp16 or bf16, rounded to NF4 as loading with load_in_4bit rounds it; the
    same shape and type."""
    from bitsandbytes import functional

    packed, state = functional.quantize_4bit(
        weight.contiguous(), blocksize=64, compress_statistics=True, quant_type="nf4"
    )
    return functional.dequantize_4bit(packed, state)


def has_room(size: int) -> bool:
    """Whether a model of this many bytes fits into the free memory."""
    available = available_memory()
    return available is None or size + MARGIN < available


def load_whole(folder: Path, weights: Weights | None = None, rows: int = 0, **options):
    """The model of a folder as from_pretrained makes it, with what training used in place of
    its `weights`; `rows` makes its embeddings larger.

    UserError when the files and the model do not have the same tensors.
    """
    import torch
    from transformers import AutoModelForCausalLM

    model, found = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, output_loading_info=True, **NO_CODE, **options
    )
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if names := sorted(map(str, found.get(kind, ()))):
            more = f" and {len(names) - 1} more" if names[1:] else ""
            raise UserError(f"{kind.replace('_', ' ')}: {names[0]}{more}")
    if weights:
        for name, parameter in model.named_parameters():
            if weights.as_nf4(name):
                parameter.data = weights.read(name)
    if rows and rows > model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(rows, mean_resizing=False)
    return model.eval()
