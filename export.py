#!/usr/bin/env python
"""Take a run out of its folder: as adapter, merged checkpoint, GGUF, or to the Hub."""

from threetoe.options.command import command
from threetoe.options.export import ExportConfig


@command(ExportConfig)
def main(config):
    """Export a run: its adapter, a model merged in 16 or 4 bits, GGUF, a folder for Ollama, or a
    push to the Hub.

    \b
    python export.py --push user/model
    python export.py --merged my-model
    python export.py --gguf q4_k_m
    python export.py --merged my-model --push user/model
    """
    from threetoe.export.export import export

    export(config)


if __name__ == "__main__":
    main()
