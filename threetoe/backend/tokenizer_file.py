"""A tokenizer read from its files alone: to look at rows without the seconds that transformers and
torch take to be imported.

Only of a folder whose tokenizer transformers takes from tokenizer.json as it stands.
"""

from pathlib import Path
from types import SimpleNamespace

from threetoe.backend.model import locate
from threetoe.errors import UserError
from threetoe.machine.records import read_json
from threetoe.prompt.tokenizer import with_cuts

CLASSES = ("PreTrainedTokenizerFast", "TokenizersBackend")
PLAIN = frozenset(  # what a tokenizer_config.json may say without another tokenizer coming of it
    "backend tokenizer_class bos_token eos_token pad_token unk_token model_max_length padding_side "
    "model_input_names clean_up_tokenization_spaces".split()
)
MORE = ("special_tokens_map.json", "added_tokens.json", "chat_template.jinja")


class FileTokenizer:
    """What encoding and showing rows ask of a tokenizer."""

    chat_template = None

    def __init__(self, folder: Path, values: dict):
        from tokenizers import Tokenizer

        self.name_or_path = str(folder)
        self.backend_tokenizer = backend = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.bos_token, self.eos_token = values.get("bos_token"), values.get("eos_token")
        self.bos_token_id = backend.token_to_id(self.bos_token or "")
        self.eos_token_id = backend.token_to_id(self.eos_token or "")
        self.added_tokens_decoder = backend.get_added_tokens_decoder()
        self.get_vocab = backend.get_vocab
        with_cuts(self)

    def __call__(self, text: str):
        return SimpleNamespace(input_ids=self.backend_tokenizer.encode(text).ids)

    def __len__(self) -> int:
        return self.backend_tokenizer.get_vocab_size()

    def decode(self, ids: list[int]) -> str:
        return self.backend_tokenizer.decode(ids, skip_special_tokens=False)


def read_tokenizer(folder: Path) -> FileTokenizer | None:
    """A folder's tokenizer; None where transformers may have more to say of it."""
    files = [folder / name for name in ("config.json", "tokenizer_config.json", "tokenizer.json")]
    if not all(map(Path.is_file, files)) or any((folder / name).exists() for name in MORE):
        return None
    config, values = read_json(files[0]), read_json(files[1])
    known = config.get("model_type") == "llama" and values.get("tokenizer_class") in CLASSES
    if not known or not values.keys() <= PLAIN:
        return None
    tokenizer = FileTokenizer(folder, values)
    special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    named = {values.get(f"{name}_token") for name in ("bos", "eos", "pad", "unk")} - {None}
    return tokenizer if named <= special else None  # else transformers would add them


def check_same_ids(adapter: Path, model: str) -> None:
    """UserError where a token has another id in a base's vocabulary than in that of an adapter,
    which may have tokens besides."""
    from tokenizers import Tokenizer

    files = [folder / "tokenizer.json" for folder in (adapter, Path(locate(model)))]
    if all(map(Path.is_file, files)):
        ours, theirs = (Tokenizer.from_file(str(file)).get_vocab() for file in files)
        for token in sorted(ours.keys() & theirs):
            if ours[token] != theirs[token]:
                raise UserError(
                    f"--model {model} has another vocabulary than --run {adapter}: {token!r} is "
                    f"its token {theirs[token]}, and was {ours[token]}."
                )
