"""Rows become conversations on disk, and the ledger says what became of every row.

source -> rows -> --map -> recipe -> format and --labels -> messages -> map_messages -> disk
"""

from contextlib import nullcontext
from pathlib import Path

from threetoe.data import cache, ledger
from threetoe.data.columns import Mapped, Recogniser, guarded_formats
from threetoe.data.conversations import Conversations, Writer
from threetoe.data.formats import is_ready, ready_row
from threetoe.data.ledger import Ledger
from threetoe.data.recipes.recipe import Recipe, find_recipe
from threetoe.data.sources import source as rows
from threetoe.data.sources import source as stdin_rows
from threetoe.errors import UserError, unknown
from threetoe.messages import Skipped, Unusable, order_problem

LOG = "data.jsonl"


def read_conversations(
    config, hooks, answered: bool = True, limit: int = 0
) -> tuple[Conversations, Ledger]:
    """Every usable row of config.dataset as a conversation, and the ledger of all rows.

    With `answered`, the last turn is the assistant's, and map_messages of plugins is applied.
    With `limit`, reading ends when so many are kept. UserError when no row at all can be used, or
    more than --allow-dropped of them have faults.
    """
    known = hooks.merge("register_datasets", config=config)
    recipe = find_recipe(config.dataset, known, config.dataset_option)
    place = place_of(recipe, config)

    def fill(folder: Path) -> None:
        with recipe.reading(config.dataset_path) if recipe else nullcontext():
            found = hooks.first("load_rows", **place, config=config)
        if found is None:
            raise unknown("dataset", config.dataset, known)
        found = recipe.guarded(found, config.dataset_path) if recipe else found
        write(found, folder, config, hooks, recipe, answered, limit)

    key = key_of(config, hooks, recipe, place, answered, limit)
    kept = cache.kept(key, fill)
    account = ledger.load(kept.path, name_of(config))
    return Conversations(kept.path, account.kept, kept, key), account


def name_of(config) -> str:
    return stdin_rows.NAME if config.dataset == "-" else config.dataset


def place_of(recipe: Recipe | None, config) -> dict:
    """Where the rows come from: the arguments of load_rows. UserError for what only goes with a
    named dataset."""
    subset = config.dataset_subset
    if recipe:
        source, split = recipe.location(config.dataset_split, config.dataset_path)
        return {"source": source, "split": split, "subset": recipe.subset or subset}
    for flag, given in (("path", config.dataset_path), ("option", config.dataset_option)):
        if given:
            raise UserError(
                f"--dataset-{flag} goes with a named dataset, which {config.dataset} is not; "
                "python -m threetoe datasets lists them."
            )
    if subset and (config.dataset == "-" or Path(config.dataset).expanduser().is_file()):
        raise UserError(
            f"--dataset-subset {subset}: a file has no subsets; folders and datasets of the Hub do."
        )
    return {"source": config.dataset, "split": config.dataset_split, "subset": subset}


def key_of(config, hooks, recipe, place: dict, answered: bool, limit: int) -> str | None:
    """The name under which the conversations are kept; None where they may not be: code of others
    takes part, or what the source holds is not known before it is read."""
    others = ("load_rows", "register_formats", "map_messages")
    if not config.data_cache or any(hooks.by_plugins(hook) for hook in others):
        return None
    content = rows.fingerprint(**place, config=config)
    if content is None:
        return None
    options = (config.map, config.labels, config.field, config.encoding, config.allow_dropped)
    made = recipe and recipe.fingerprint
    return cache.key_of(content, place, options, made, answered, limit)


def write(found, folder: Path, config, hooks, recipe: Recipe | None, answered: bool, limit: int):
    """Fill a folder with the conversations of a source, its ledger and the log of the ledger."""
    mapped = Mapped(found, config.map)
    recogniser = Recogniser(guarded_formats(hooks, config), config.labels, answered)
    account, writer = Ledger(name_of(config)), Writer(folder)
    with (folder / LOG).open("w", encoding="utf-8") as log:
        for where, row in recipe.apply(mapped, answered) if recipe else mapped:
            account.read += 1
            try:
                messages = messages_of(row, recogniser, hooks, config)
                writer.add(where, messages)
            except Unusable as error:
                account.leave_out(where, str(error), log, isinstance(error, Skipped))
                continue
            count(account, messages)
            if writer.count == limit:
                break
    writer.close()
    account.kept, account.fingerprint = writer.count, writer.fingerprint()
    account.duplicates = writer.duplicates()
    check(account, mapped, recogniser, config)
    account.save(folder)


def messages_of(row, recogniser: Recogniser, hooks, config) -> list[dict] | dict:
    """What a row becomes; Unusable says why nothing, Skipped that this was meant."""
    if isinstance(row, Unusable):
        raise row
    answered = recogniser.answered
    if is_ready(row):
        if not answered:
            raise Unusable("input_ids ask nothing")
        return ready_row(row)
    messages = recogniser.messages_of(row)
    if answered and hooks.has("map_messages"):
        messages, dropped_by = hooks.chain(
            "map_messages", "messages", messages, may_drop=True, config=config
        )
        if dropped_by:
            raise Skipped(f"dropped by plugin {dropped_by}")
        problem = order_problem(messages, answered)
        if problem:
            raise Unusable(f"after map_messages of plugins: {problem}")
    return messages


def count(account: Ledger, messages) -> None:
    if isinstance(messages, dict):
        return
    last = messages[-1]
    if last["role"] == "assistant":
        account.count_answer(last["content"])
    account.texts += last["role"] == "text"


def check(account: Ledger, mapped: Mapped, recogniser: Recogniser, config) -> None:
    """UserError when nothing can be used, or too much has faults."""
    source = account.source
    if not account.read:
        raise UserError(f"{source} is empty: it holds no rows.")
    mapped.check(source)
    if not account.kept:
        recogniser.check(source)
        raise UserError(f"{source}: no row can be used.", *account.left_out())
    if config.labels and recogniser.answered and not recogniser.spelled:
        raise UserError(
            f"--labels names codes in answers of one column; {source} has rows of another format."
        )
    check_share(account, config)


def check_share(account: Ledger, config) -> None:
    """UserError when more than --allow-dropped of the rows have faults."""
    share = account.faults / account.read
    if share > config.allow_dropped:
        raise UserError(
            f"{account.source}: {account.faults:,} of {account.read:,} rows have faults "
            f"({100 * share:.1f} %); --allow-dropped {share + 0.005:.2f} goes on without them.",
            *account.left_out(),
        )
