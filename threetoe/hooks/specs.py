"""Every hook on one page: its arguments, when it is called, what to return.

A plugin is a module with functions of these names; each takes any subset of the arguments.
The prefix tells the rule:

    register_   everyone answers and the results merge; the same name twice is an error
    load_ build_   the first answer that is not None wins; the built-in comes last
    map_   the value passes through each plugin in turn
    after_   told afterwards, when results are already saved; the return value is ignored

Any hook may also take `settings`: an instance of its own module's frozen dataclass Settings.
Each says which scripts call it, and since which version of Threetoe it is there. They stand in the
order in which a script calls them.
"""

from pluggy import HookspecMarker

PREFIXES = ("register_", "load_", "build_", "map_", "after_")


def called_by(*scripts: str):
    """Marks a specification of pluggy, and notes the scripts that call it."""

    def mark(function):
        function.scripts = scripts
        return HookspecMarker("threetoe")(function)

    return mark


@called_by("train", "infer", "export")
def register_templates(config):
    """At the start of every script. Return {name: path of a template's YAML file}. Since 0.1."""


@called_by("train", "infer")
def register_datasets(config):
    """When data is read. Return {name: path of a dataset recipe's YAML file}. Since 0.1."""


@called_by("train", "infer")
def register_formats(config):
    """Then. Return {name: threetoe.api.Format}: how a row becomes messages. Since 0.1."""


@called_by("train", "infer")
def load_rows(source, split, subset, config):
    """Once a data source. Return an iterable of (where, row): 'my.csv:3' and a dict. A generator is
    read as a stream. `subset` is --dataset-subset or None. Since 0.1."""


@called_by("train")
def map_messages(messages, config):
    """Every training conversation. Return the messages, or None to drop the row. Since 0.1."""


@called_by("train", "infer")
def register_metrics(config):
    """Before evaluation. Return {name: function(answers, expected)} that returns a number.
    Evaluation is infer.py --file with expected answers, and train.py --metrics; both are lists of
    texts, equally long. Since 0.1."""


@called_by("infer")
def map_request(messages, config):
    """Every question of infer, before it is rendered. Return the messages. Since 0.1."""


@called_by("train", "infer")
def load_model(config, adapter):
    """In train and infer. Return a model; `adapter` is a run folder, or None for a new adapter.
    `config` is the training configuration, the run's own when a run is asked. Since 0.1."""


@called_by("train")
def map_model(model, tokenizer, config):
    """Once in train, when the adapter is on. Return the model. Since 0.1."""


@called_by("train")
def map_training_args(arguments, config):
    """Once in train. Return the arguments, a dict of those of trl.SFTConfig. Since 0.1."""


@called_by("train")
def register_callbacks(config):
    """Before training. Return {name: transformers.TrainerCallback}. Since 0.1."""


@called_by("train")
def build_trainer(model, tokenizer, rows, arguments, callbacks, validation, config):
    """Once in train. Return a transformers Trainer, or what has its train(). `rows` and
    `validation`, which may be None, are datasets.Datasets: input_ids, labels, length. Since 0.1."""


@called_by("train")
def after_train(trainer, metrics, folder, config):
    """When the run folder is complete. `metrics` is the dict of run.json. Since 0.1."""


@called_by("infer")
def map_reply(reply, messages, config):
    """Every answer of infer. Return the text that is printed or written. Since 0.1."""


@called_by("export")
def register_exporters(config):
    """Before export. Return {name: function(run, folder, config)}: it fills a folder. Since 0.1."""


@called_by("export")
def map_card(card, folder, config):
    """Every exported folder with a README.md. Return its text, YAML head and all. Since 0.1."""


@called_by("export")
def after_export(format, folder, config):
    """When an export is complete; `format` is adapter, merged or a plugin's name. Since 0.1."""
