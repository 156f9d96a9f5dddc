"""A base that is not on this machine: whether the Hub gives it, how large it is, its headers."""

import importlib.util
import os
import re
import runpy
from collections.abc import Callable
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

from threetoe.backend import model as backend
from threetoe.backend.checkpoint import Stored, header_bytes, list_checkpoint, read_base_config
from threetoe.errors import UserError, first_line
from threetoe.export.merge.nf4 import as_used_in_4bit
from threetoe.export.merge.options import stays
from threetoe.machine.files import write_json
from threetoe.machine.hub import gives_a_sign, look_up
from threetoe.options.export import ExportConfig
from threetoe.run.base import PREQUANTISED, is_prequantised
from threetoe.run.record import Run

WANTED = ("*.safetensors*", "config.json", "tokenizer.model")
ELSE = "name a folder with its 16-bit safetensors: --base DIR"


class Base(NamedTuple):
    """A base whose headers can be read in `folder`: its own, or a hollow copy."""

    name: str
    folder: Path
    download: int = 0  # bytes
    hollow: bool = False


def find_base(name: str, scratch: Path, seconds: float) -> Base:
    """The base where it is: a folder, the Hub's cache, or the Hub, with its bytes to download.

    UserError when it is nowhere, is gated, or the Hub does not answer within `seconds` a request.
    """
    path = Path(backend.locate(name))
    if path.is_dir():
        list_checkpoint(path)
        return Base(name, path)
    return cached(name) or on_the_hub(name, scratch, seconds)


def cached(name: str) -> Base | None:
    """The base when all of it is in the Hub's cache."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        folder = Path(snapshot_download(name, allow_patterns=list(WANTED), local_files_only=True))
        list_checkpoint(folder)
        read_base_config(folder)
    except HFValidationError:
        raise UserError(f"{name} is neither a folder nor a Hub id; {ELSE}.") from None
    except (OSError, UserError):  # not there, or not all of it
        return None
    return Base(name, folder)


def on_the_hub(name: str, scratch: Path, seconds: float) -> Base:
    """What the Hub says of a base; its headers are written into the folder `scratch`."""
    from huggingface_hub import HfApi, hf_hub_download

    api = HfApi()
    with looking_up(name, api.endpoint):
        if not gives_a_sign(api.endpoint):
            raise ConnectionError
        info = api.model_info(name, files_metadata=True, timeout=seconds)
        config = hf_hub_download(name, "config.json")
        metadata = api.get_safetensors_metadata(name)
    write_headers(metadata, Path(config), scratch)
    return Base(name, scratch, to_download(name, info), hollow=True)


@contextmanager
def looking_up(name: str, endpoint: str):
    """Turns what the client raises about a base into a UserError that says what mends it."""
    import httpx
    from huggingface_hub import errors

    try:
        yield
        return
    except errors.GatedRepoError:
        problem = (
            f"The base {name} is gated: ask for access at {endpoint}/{name}, then set HF_TOKEN or "
            "run `hf auth login`; or"
        )
    except errors.RepositoryNotFoundError:
        problem = f"The Hub has no base {name}, or none that the token in use may see;"
    except (errors.NotASafetensorsRepoError, errors.EntryNotFoundError):
        problem = f"{name} on the Hub has no safetensors to merge into;"
    except errors.OfflineModeIsEnabled:
        problem = f"The base {name} is not in the Hub's cache, and HF_HUB_OFFLINE is set;"
    except errors.HfHubHTTPError as error:
        answer = f"the Hub answers {error.response.status_code}" if error.response else "no answer"
        problem = f"The base {name} cannot be looked up: {answer};"
    except (httpx.HTTPError, OSError) as error:
        problem = (
            f"The base {name} is not on this machine, and the Hub at {endpoint} cannot be reached "
            f"({type(error).__name__});"
        )
    raise UserError(f"{problem} {ELSE}.")


def to_download(name: str, info) -> int:
    """Bytes of the files that the cache does not hold yet."""
    from huggingface_hub import try_to_load_from_cache

    wanted = [f for f in info.siblings if any(fnmatch(f.rfilename, p) for p in WANTED)]
    missing = [
        file for file in wanted
        if not isinstance(try_to_load_from_cache(name, file.rfilename, revision=info.sha), str)
    ]  # fmt: skip
    return sum(file.size or 0 for file in missing)


def write_headers(metadata, config: Path, folder: Path) -> None:
    """A checkpoint with these headers and holes for bytes, so that it is checked like any other."""
    (folder / "config.json").write_bytes(config.read_bytes())
    places = {}
    for number, file in enumerate(metadata.files_metadata.values()):
        path = folder / f"{number}.safetensors"
        stored = []
        for name, tensor in file.tensors.items():
            start, end = tensor.data_offsets
            stored.append(Stored(name, tensor.dtype, tuple(tensor.shape), path, start, end - start))
        head = header_bytes(stored)
        path.write_bytes(head)
        os.truncate(path, len(head) + max((t.start + t.size for t in stored), default=0))
        places |= {tensor.name: path.name for tensor in stored}
    write_json(folder / "model.safetensors.index.json", {"weight_map": places})


def dequantizes(run: Run, config: ExportConfig) -> bool:
    """Whether to round a base's 16-bit weights as quantising while loading did, to what the
    adapter was trained on. A base that is stored in 4 bits is expanded in any case."""
    base = config.base or run.options["model"]
    asked, four = config.base_weights, is_prequantised(base)
    if asked == "dequantized" and not (four or run.options["load_in_4bit"]):
        raise UserError(
            f"--base-weights dequantized: the base {base} was not quantised while loading; choose "
            "16bit."
        )
    if asked == "16bit" and config.base and four:
        raise UserError(f"--base-weights 16bit: --base {base} is stored in 4 bits.")
    if four or not run.options["load_in_4bit"]:
        return False
    own = not is_prequantised(run.options["model"])  # else --base names another base
    return asked == "dequantized" or (own and asked is None)


def as_used(run: Run, config: ExportConfig) -> Callable:
    """What training used in place of the base's tensors, as merge.py asks for it."""
    return as_used_in_4bit if dequantizes(run, config) else stays


def original_of(model: str) -> str:
    """The 16-bit model of which a 4-bit one was made: by Unsloth's table, its name, or the
    base_model of its own README.md. UserError when none of them says."""
    if name := unsloth_table().get(model.lower()):
        return name
    for suffix in PREQUANTISED:
        if model.endswith(suffix):
            return model.removesuffix(suffix)
    readme = Path(backend.locate(model), "README.md")
    text = readme.read_text(encoding="utf-8") if readme.is_file() else ""
    if found := re.search(r"\A---\n(?:.*\n)*?base_model:\s*(?:-\s*)?(\S+)", text):
        return found[1].strip("'\"")
    raise UserError(
        f"--base-weights 16bit: nothing says of which model {model} is the 4-bit copy; name that "
        "one with --base."
    )


def unsloth_table() -> dict[str, str]:
    """Unsloth's names of 4-bit models, in lower case, and of their 16-bit originals; empty where
    Unsloth is not installed. Its one file is read alone: importing Unsloth takes ten seconds."""
    found = importlib.util.find_spec("unsloth")
    if found is None:
        return {}
    table = runpy.run_path(str(Path(found.origin).parent / "models" / "mapper.py"))
    return table["INT_TO_FLOAT_MAPPER"]


def name_of_weights(run: Run, config: ExportConfig) -> str:
    """The folder or Hub id of the weights to merge into: those that the run was trained on, or
    with --base-weights 16bit those of which they were made."""
    name = config.base or run.options["model"]
    if not config.base and config.base_weights == "16bit" and is_prequantised(name):
        return original_of(name)
    return name


def base_weights(run: Run, config: ExportConfig) -> Path:
    """The folder with the base's safetensors, downloaded when it is a Hub id."""
    name = name_of_weights(run, config)
    path = Path(backend.locate(name))
    if path.is_dir():
        return path
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(look_up(name), allow_patterns=list(WANTED)))
    except Exception as error:  # the client raises many kinds: offline, missing, gated
        raise UserError(
            f"The base weights {name} cannot be read from the Hub: {first_line(error)} "
            "Give a local folder: --base DIR."
        ) from error
