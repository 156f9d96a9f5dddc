"""The push to the Hub, and the check of what arrived."""

import fnmatch
import glob
import hashlib
from functools import partial
from pathlib import Path

from threetoe.errors import UserError
from threetoe.machine.hub import ANSWER_SECONDS, answers_within, asking, check_push
from threetoe.machine.hub_upload import PushError, failing_as, patiently, quiet_client
from threetoe.machine.terminal import say
from threetoe.run.record import RECORD  # a repo that has it holds an export

EXPORTED = """
    *.safetensors *.safetensors.index.json *.gguf adapter_config.json config.json
    generation_config.json tokenizer.json tokenizer_config.json special_tokens_map.json
    added_tokens.json chat_template.jinja Modelfile verify.json training.png
""".split()  # what exports write; in a repo that has one, such a file of an older export is stale


def check_repo(config) -> None:
    """UserError for what can be known to refuse --push before anything is written: a public repo
    with --private among it."""
    from huggingface_hub import HfApi

    check_push(config.push, config.create_pr, config.revision)
    if config.private:
        api = HfApi()
        with answers_within(ANSWER_SECONDS), asking(api.endpoint):
            there = api.repo_exists(config.push)
            exposed = there and not api.repo_info(config.push).private
        if exposed:
            raise UserError(f"--private: {public(config.push, f'{api.endpoint}/{config.push}')}")


def public(repo_id: str, url: str) -> str:
    return (
        f"{repo_id} already exists and is public; nothing was uploaded. Make it private at "
        f"{url}/settings, choose another name, or leave out --private."
    )


def push_folder(
    folder: Path,
    repo_id: str,
    private: bool,
    message: str,
    revision: str | None = None,
    create_pr: bool = False,
) -> str:
    """The URL of the repo, branch or pull request that holds every file of `folder`, compared.

    Repo and branch (`revision`) are made when they do not exist. A push that was cut off is
    repeated by calling again: what the Hub has is not sent twice. Weights and tokenizer files of an
    older export are removed in the same commit, and named on stderr; other files stay. Raises
    PushError when a step fails, when `private` meets a public repo (before anything is
    uploaded), and, naming the files, when what arrived differs.
    """
    from huggingface_hub import HfApi, get_token

    api, token = HfApi(), get_token()
    with quiet_client():
        url = make_repo(api, repo_id, private, revision, token)
        with failing_as(f"Listing {repo_id}", token):
            stale, others = find_stale(folder, sorted(list_files(api, repo_id, revision)))
        with failing_as(f"Uploading to {repo_id}", token):
            send = partial(
                api.upload_folder, repo_id=repo_id, folder_path=folder, commit_message=message,
                revision=revision, create_pr=create_pr,
                delete_patterns=[glob.escape(name) for name in stale],
            )  # fmt: skip
            commit = patiently(send, once=create_pr)  # a pull request may have been opened
        with failing_as(f"Listing {repo_id}", token):
            arrived = list_files(api, repo_id, commit.oid)
    differences = compare(folder, arrived)
    differences += [f"{name} is still there" for name in stale if name in arrived]
    if differences:
        raise PushError(f"What arrived at {url} differs: {'; '.join(differences)}. Push again.")
    tell(repo_id, stale, others)
    if commit.pr_url:
        return commit.pr_url
    return f"{url}/tree/{revision}" if revision and revision != "main" else url


def make_repo(api, repo_id: str, private: bool, revision: str | None, token: str | None) -> str:
    """The URL of the repo, which is there now, and so is its branch `revision`; PushError when
    it shall be private and is not."""
    with failing_as(f"Creating {repo_id}", token):
        # None leaves the choice to the Hub: an organization may make its repos private.
        url = str(api.create_repo(repo_id, private=private or None, exist_ok=True))
        exposed = private and not api.repo_info(repo_id).private
    if exposed:
        raise PushError(public(repo_id, url))
    if revision and revision != "main" and not revision.startswith("refs/"):
        with failing_as(f"Making the branch {revision} of {repo_id}", token):
            api.create_branch(repo_id, branch=revision, exist_ok=True)
    return url


def list_files(api, repo_id: str, revision: str | None) -> dict:
    """The listing of a repo: path -> RepoFile."""
    from huggingface_hub import RepoFile

    tree = api.list_repo_tree(repo_id, recursive=True, revision=revision)
    return {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}


def find_stale(folder: Path, there: list[str]) -> tuple[list[str], list[str]]:
    """(files of an older export to remove, other files that stay), of those a repo holds.

    A repo without RECORD is nobody's export, so nothing in it is removed.
    """
    meant = set(names_meant(folder))
    rest = [name for name in there if name not in meant and name != ".gitattributes"]
    stale = [
        name for name in rest
        if RECORD in there and any(fnmatch.fnmatchcase(name, form) for form in EXPORTED)
        and "/" not in name
    ]  # fmt: skip
    return stale, [name for name in rest if name not in stale]


def tell(repo_id: str, stale: list[str], others: list[str]) -> None:
    if stale:
        say(f"removed from {repo_id}, of an older export: {', '.join(stale)}")
    if others:
        say(f"also in {repo_id}, and left as it was: {', '.join(others)}")


def compare(folder: Path, arrived: dict) -> list[str]:
    """How the listing (path -> RepoFile) differs from `folder`: a phrase per wrong file."""
    differences = []
    for name in names_meant(folder):
        path, there = folder / name, arrived.get(name)
        size = path.stat().st_size
        if there is None:
            differences.append(f"{name} is missing")
        elif there.size != size:
            differences.append(f"{name} has {there.size} bytes instead of {size}")
        elif (there.lfs.sha256 if there.lfs else there.blob_id) != content_id(path, there.lfs):
            differences.append(f"{name} has other content")
    return differences


def names_meant(folder: Path) -> list[str]:
    """The files of a folder that are pushed: all but the caches that the client passes over."""
    from huggingface_hub.utils import DEFAULT_IGNORE_PATTERNS, filter_repo_objects

    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    return list(filter_repo_objects(names, ignore_patterns=DEFAULT_IGNORE_PATTERNS))


def content_id(path: Path, lfs) -> str:
    """The sha256 of a file in LFS, otherwise the id that git gives its content
    (https://git-scm.com/book/en/v2/Git-Internals-Git-Objects)."""
    if lfs:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    data = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
