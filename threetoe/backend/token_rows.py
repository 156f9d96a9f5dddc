"""The rows of new tokens inside a model: named for PEFT, started, checked, put in place; and
embeddings and head where they are trained whole."""

from threetoe.errors import UserError
from threetoe.prompt.new_tokens import TokenRows

ALMOST_ZERO = 1e-16  # what Unsloth, too, takes for zero in a row that was never learned


def locate(model, rows: TokenRows) -> dict[str, list[int]]:
    """PEFT's trainable_token_indices: both matrices, or the one that two tied ones share."""
    places = [model.get_input_embeddings()]
    if not model.config.get_text_config().tie_word_embeddings:
        places.append(model.get_output_embeddings())
    names = {module: name for name, module in model.named_modules()}
    return {names[place]: list(rows.trained) for place in places}


def find_layers(model) -> list:
    """PEFT's layers of single rows, without those that repeat a tied one."""
    from peft.tuners.trainable_tokens import TrainableTokensLayer

    found = [m for m in model.modules() if isinstance(m, TrainableTokensLayer)]
    return [layer for layer in found if layer.tied_adapter is None]


def find_wrappers(model) -> dict:
    """PEFT's modules around embedding and head, by name."""
    from peft.utils.other import TrainableTokensWrapper

    return {n: m for n, m in model.named_modules() if isinstance(m, TrainableTokensWrapper)}


def start(model, rows: TokenRows) -> None:
    """Makes the rows trainable, in fp32, and starts those that nobody has learned at the mean.

    The mean row's logit is the mean of all logits, so an unlearned token is never the likeliest.
    Unsloth freezes on a GPU what it does not know by name, and these rows with it.
    """
    found = find_layers(model)
    used = found[0].base_layer.weight[: rows.held].abs().amax(dim=1) > ALMOST_ZERO
    used[[row for row in rows.fresh if row < rows.held]] = False
    unlearned = rows.fresh + find_untrained(found[0].base_layer.weight, rows)
    places = [rows.trained.index(row) for row in unlearned]
    for layer in found:
        delta = layer.trainable_tokens_delta["default"]
        delta.data = delta.data.float()
        delta.data[places] = average_rows(layer.base_layer.weight[: rows.held], used)
        delta.requires_grad_(True)
    for wrapper in find_wrappers(
        model
    ).values():  # TRL's loss in validation asks a head for its bias
        wrapper.bias = getattr(wrapper.token_adapter.base_layer, "bias", None)


def widen(model) -> None:
    """Puts what --modules-to-save trains into fp32, as steps of 2e-4 round away in 16 bits; what
    stands around it goes on in the base's type."""
    from peft.utils.other import ModulesToSaveWrapper

    for module in model.modules():
        if isinstance(module, ModulesToSaveWrapper):
            (whole,), kind = module.modules_to_save.values(), module.original_module.weight.dtype
            whole.float()
            if module is model.get_input_embeddings():
                whole.register_forward_hook(lambda _, given, made, kind=kind: made.to(kind))
            else:
                whole.register_forward_pre_hook(lambda _, given: given[0].float())


def find_untrained(weight, rows: TokenRows) -> tuple[int, ...]:
    """Those of the base's own rows that are zero or equal to another, as Llama 3's base has them.
    Of other rows nothing tells whether they were learned: they start as they are."""
    found = []
    for row in set(rows.trained) - set(rows.fresh):
        alike = (weight[: rows.held, 0] == weight[row, 0]).nonzero()[:, 0]
        twins = (weight[alike] == weight[row]).all(dim=1).sum()
        if twins > 1 or weight[row].abs().max() <= ALMOST_ZERO:
            found.append(row)
    return tuple(sorted(found))


def average_rows(weight, used):
    """The mean in fp32 of those rows of a matrix that are used."""
    import torch

    rest = weight[~used].sum(dim=0, dtype=torch.float32)
    return (weight.sum(dim=0, dtype=torch.float32) - rest) / used.sum()


def check_trained(model) -> None:
    """UserError when the model of a plugin does not train the rows that --new-tokens asks for."""
    deltas = [layer.trainable_tokens_delta["default"] for layer in find_layers(model)]
    if not deltas or not all(delta.requires_grad for delta in deltas):
        raise UserError(
            "--new-tokens: the model that a plugin's load_model returned does not train the rows "
            "of config.token_rows; leave out --new-tokens or the --plugin."
        )


def put_in_place(model, trained: bool) -> None:
    """Takes PEFT's row layers off a model that is only asked, its rows written into the matrices
    (or, without `trained`, left as the base has them): PEFT copies a matrix for every token."""
    for name, wrapper in find_wrappers(model).items():
        layer = wrapper.token_adapter
        if trained and layer.tied_adapter is None:
            weight, delta = layer.base_layer.weight, layer.trainable_tokens_delta["default"]
            weight.data[layer.token_indices["default"]] = delta.data.to(weight)
        above, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(above), leaf, layer.base_layer)
