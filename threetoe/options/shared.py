"""Options that several scripts share: plugins, a run's prompts, and how data is read."""

from dataclasses import dataclass

from threetoe.options.types import PLACE, POSITIVE, FiniteRange, Labels, Pair, option


def template_option(group):
    return option(
        None, "Prompt template of a folder that other tools made: a name, a .yaml file, or "
        "from-tokenizer.", PLACE, group, show_default="the run's own",
    )  # fmt: skip


def force_option(group):
    help = "Use --template even where its prompts are not those that were trained."
    return option(False, help, group=group)


def run_plugins_option():
    help = "Use the run's plugins again where they are as they were, after those of --plugin."
    return option(True, help, group="Plugins")


def split_option(default):
    return option(default, "Split of a named dataset, a folder or a Hub id.", group="Data")


@dataclass(frozen=True)
class Common:
    """What all three scripts share."""

    plugin: tuple = option(
        (), "A plugin: file.py or package.module; may be repeated.", PLACE, "Plugins", multiple=True
    )
    settings: tuple = option(
        (), "A setting that a plugin declares, PLUGIN.NAME=VALUE where two have it; may be "
        "repeated.", Pair(may_be_empty=True), "Plugins", multiple=True, flag="--set", adds=True,
    )  # fmt: skip
    problems: tuple = ()  # what the command line got wrong; reported with all other problems
    record: tuple | None = None  # (path, plugins) of a --config run.json; none beside --plugin


@dataclass(frozen=True)
class DataConfig(Common):
    """Where rows come from, and how they are read."""

    dataset: tuple = option(
        ("sentiment",),
        "A dataset's name (python -m threetoe datasets), a file (json, jsonl, csv, tsv, parquet, "
        "txt), a folder of them, - for standard input, my.py:function, or a Hub id. Several are "
        "mixed; oasst1:0.3 draws a share of one.",
        PLACE, "Data", multiple=True, show_default="sentiment",
    )  # fmt: skip
    max_samples: int = option(
        None, "The first N usable rows of each dataset alone.", POSITIVE, "Data"
    )
    dataset_path: str = option(
        None, "A local copy of a named dataset: a file or a folder.", PLACE, "Data"
    )
    dataset_subset: str = option(None, "Subset (configuration) of a Hub id.", group="Data")
    dataset_option: tuple = option(
        (), "An option of a named dataset, such as lang=zh; may be repeated.",
        Pair(), "Data", multiple=True,
    )  # fmt: skip
    streaming: bool = option(
        False, "Read no more rows than are trained, and of a Hub id download no more.",
        group="Data",
    )  # fmt: skip
    field: str = option(
        None, "Where the list of rows stands in a JSON object: data, or deeper as in a.b.",
        group="Data",
    )  # fmt: skip
    encoding: str = option(
        "utf-8", "Encoding of text files, such as gb18030, utf-16, latin-1.", group="Data"
    )
    map: tuple = option(
        (), "Column names: --map instruction=question; may be repeated.",
        Pair(), "Data", multiple=True,
    )  # fmt: skip
    instruction: str = option(
        None, 'The instruction of all rows, where no column has one: "Classify the review."',
        group="Data",
    )  # fmt: skip
    labels: tuple = option(
        (), 'Texts for codes in the answers: --labels \'{"-1":"Negative","1":"Positive"}\'.',
        Labels(), "Data",
    )  # fmt: skip
    allow_dropped: float = option(
        0.05, "Largest share of faulty rows to go on with.", FiniteRange(0, 1), "Data"
    )

    @property
    def datasets(self) -> tuple[str, ...]:
        """What --dataset names, be it one."""
        return (self.dataset,) if isinstance(self.dataset, str) else tuple(self.dataset)
