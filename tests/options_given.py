"""Options as a script's command hands them on."""

from click.testing import CliRunner

from threetoe.options.command import command
from threetoe.options.train import TrainConfig


def given(*args, config_class=TrainConfig, yaml=None):
    """The configuration that arguments, and the text of a --config file, arrive as."""
    arrived = []

    @command(config_class)
    def main(config):
        """Keep the configuration."""
        arrived.append(config)

    if yaml is not None:
        with open("options.yaml", "w", encoding="utf-8") as file:
            file.write(yaml)
        args = ("--config", "options.yaml", *args)
    result = CliRunner().invoke(main, list(args), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return arrived[0]
