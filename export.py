#!/usr/bin/env python
"""Take a run out of its folder: an adapter, a merged checkpoint, a Hub repository."""

from threetoe.config_export import ExportConfig
from threetoe.options import command


@command(ExportConfig)
def main(config):
    """Export a run: its adapter, a merged 16-bit checkpoint, or a push to the Hub.

    \b
    python export.py --push user/model
    python export.py --merged my-model
    python export.py --merged my-model --push user/model
    """
    from threetoe.export import export

    export(config)


if __name__ == "__main__":
    main()
