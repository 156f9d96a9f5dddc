"""A run, an adapter or a whole model that --run names on the Hub, brought into a folder here."""

import sys
from pathlib import Path

from threetoe.errors import UserError, first_line
from threetoe.machine.hub import endpoint, gives_a_sign, is_hub_id
from threetoe.machine.terminal import clear_line, show_progress

FILES = ["*.json", "*.jinja", "*.model", "*.safetensors"]  # what is read of such a folder; no code
DEEPER = "*/*"


def find_folder(run: Path) -> Path:
    """The folder of --run; of a Hub id one with its files, that are fetched where they are new.
    A path whose parent is here means a folder here."""
    name = str(run)
    if run.exists() or run.parent.exists() or not is_hub_id(name):
        return run
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils import disable_progress_bars

    folder = Path(constants.HF_HOME, "threetoe", name)
    if constants.is_offline_mode() or not gives_a_sign(endpoint()):
        if any((folder / part).exists() for part in ("adapter_config.json", "config.json")):
            return folder
        raise UserError(
            f"--run {name}: there is no such folder, and the Hub at {endpoint()} cannot be asked."
        )
    if not sys.stderr.isatty():
        disable_progress_bars()
    show_progress(f"fetching {name}")
    try:
        snapshot_download(name, local_dir=folder, allow_patterns=FILES, ignore_patterns=DEEPER)
    except HfHubHTTPError as error:
        raise UserError(
            f"--run {name}: there is no such folder, and the Hub does not give a repository of "
            f"this name: {first_line(error).rstrip('.')}."
        ) from None
    clear_line()
    return folder
