"""A base that is not on this machine: whether the Hub gives it, how large it is, its headers."""

import os
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

from threetoe import backend
from threetoe.errors import UserError
from threetoe.run import write_json
from threetoe.shard_layout import header_bytes
from threetoe.shards import Stored, list_checkpoint, read_json

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
    path = Path(backend.location(name))
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
        read_json(folder / "config.json")
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
    except errors.GatedRepoError:
        raise UserError(
            f"The base {name} is gated: ask for access at {endpoint}/{name}, then set HF_TOKEN or "
            f"run `hf auth login`; or {ELSE}."
        ) from None
    except errors.RepositoryNotFoundError:
        raise UserError(
            f"The Hub has no base {name}, or none that the token in use may see; {ELSE}."
        ) from None
    except (errors.NotASafetensorsRepoError, errors.EntryNotFoundError):
        raise UserError(f"{name} on the Hub has no safetensors to merge into; {ELSE}.") from None
    except errors.OfflineModeIsEnabled:
        raise UserError(
            f"The base {name} is not in the Hub's cache, and HF_HUB_OFFLINE is set; {ELSE}."
        ) from None
    except errors.HfHubHTTPError as error:
        answer = f"the Hub answers {error.response.status_code}" if error.response else "no answer"
        raise UserError(f"The base {name} cannot be looked up: {answer}; {ELSE}.") from None
    except (httpx.HTTPError, OSError) as error:
        raise UserError(
            f"The base {name} is not on this machine, and the Hub at {endpoint} cannot be reached "
            f"({type(error).__name__}); {ELSE}."
        ) from None


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
