"""Each exported weight beside what PEFT's own merge makes of base and adapter."""

from collections.abc import Callable, Iterator

from threetoe.export.verify.layerwise import WRAPPERS, base_name

STEPS = {"float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}  # at 1
LEAST = {"float32": 0.0, "float16": 2.0**-24, "bfloat16": 0.0}  # steps below the normal numbers
SUM = 2.0**-20  # of a weight: another order of sums in fp32
PIECE = 2**22  # numbers
FEW = 1e-3  # of a tensor: on another device 4-bit weights are expanded otherwise in their last bit


class Sums:
    """What look() has found of all tensors.

    `read(name)` gives an exported tensor in fp32 (None where there is none of that name), and
    `dtype(name)` float32, float16, bfloat16, or None for what has no such steps.
    """

    def __init__(self, read: Callable, dtype: Callable):
        self.read, self.dtype = read, dtype
        self.wrong: list[str] = []  # tensors with numbers other than the two beside the sum
        self.kept = self.added = self.noise = 0.0

    def look(self, name: str, part) -> None:
        """Merge a part of the model, and compare its weights."""
        for place, before, after in merged(part, name):
            found = self.read(place)
            if found is not None and found.shape == after.shape:
                self.compare(place, before, after, found.to(after.device))

    def compare(self, name: str, before, after, found) -> None:
        """In pieces: for Llama 3's head each difference would take another 2.1 GB."""
        dtype, outside = self.dtype(name), 0
        pieces = (tensor.flatten().split(PIECE) for tensor in (before, after, found))
        for old, new, written in zip(*pieces, strict=True):
            apart = written - new
            if dtype:
                limits = step_at(new, dtype) + SUM * new.abs() + 1e-9
                outside += int((~(apart.abs() <= limits)).sum())  # nan is outside
            if before is not after:
                added = (new - old).double()
                self.kept += float((added * (written - old)).sum())
                self.added += float((added * added).sum())
                self.noise += float((added * apart).square().sum())
        if outside > FEW * found.numel():
            self.wrong.append(name)

    @property
    def share(self) -> float | None:
        """Of what the adapter adds to the weights, how much is in the exported ones: 1 where
        rounding takes nothing away in its direction, 0 in the base's. None without any."""
        return self.kept / self.added if self.added else None

    @property
    def deviation(self) -> float:
        """By how much rounding may move the share without taking anything: its standard
        deviation."""
        return self.noise**0.5 / self.added


def step_at(numbers, dtype: str):
    """From each number to the next in its type."""
    import torch

    powers = (numbers.view(torch.int32) & 0x7F800000).view(torch.float32)
    return (powers * STEPS[dtype]).clamp(min=LEAST[dtype])


def merged(part, name: str) -> Iterator[tuple]:
    """(name, before, after) of every weight of a part; PEFT merges what it has there."""
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import ModulesToSaveWrapper

    for inner, parameter in part.named_parameters():
        if not any(word in f".{inner}" for word in (*WRAPPERS, "modules_to_save", ".lora_")):
            weight = parameter.data
            yield base_name(name + inner), weight, weight
    for inner, module in list(part.named_modules()):
        place = f"{name}{inner}." if inner else name
        if isinstance(module, BaseTunerLayer):
            base = module.get_base_layer()
            before = {key: parameter.detach().clone() for key, parameter in base.named_parameters()}
            module.merge()
            for key, parameter in base.named_parameters():
                yield base_name(place + key), before[key], parameter.data
                parameter.data = before[key]  # it may be tied to one that is yet to be called
            module.merged_adapters.clear()
        elif isinstance(module, ModulesToSaveWrapper):
            new = module.modules_to_save[module.active_adapters[0]]
            pairs = zip(module.original_module.parameters(), new.named_parameters(), strict=True)
            for old, (key, parameter) in pairs:
                same = old.shape == parameter.shape
                yield base_name(place + key), old.data if same else parameter.data, parameter.data
