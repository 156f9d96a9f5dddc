"""The Hub: what is checked before a push, the push, and the check of what arrived."""

import hashlib
import re
import sys
from contextlib import contextmanager
from pathlib import Path

from threetoe.errors import Checks, Failure, UserError, did_you_mean

ANSWER_SECONDS = 15  # huggingface_hub itself waits for ever
REPO_PART = re.compile(r"(?!.*(?:--|\.\.))[A-Za-z0-9_](?:[\w.-]{0,94}[A-Za-z0-9_])?", re.ASCII)


class PushError(Failure):
    """A push that failed after its checks; the message names the step and holds no token."""


def check_repo_id(repo_id: str) -> tuple[str, str]:
    """The (namespace, name) of a repo id, judged by its form alone: no import, no network.

    Raises UserError where huggingface_hub or the Hub would refuse the form.
    """
    parts = repo_id.split("/")
    right_parts = len(parts) == 2 and all(map(REPO_PART.fullmatch, parts))
    if right_parts and len(repo_id) <= 96 and not repo_id.endswith(".git"):
        return parts[0], parts[1]
    raise UserError(
        f"'{repo_id}' is not a Hub repo id. A right one looks like user/model: letters, digits, "
        "'-', '_' and '.', at most 96 characters, without '--' or '..', not ending in '.git'."
    )


def check_push(repo_id: str) -> str:
    """The name of the user who would push to `repo_id`, once everything checkable is right.

    Raises one UserError with a line each for a malformed id, a missing, refused or read-only
    token, a namespace that is not the user's, and a Hub that does not answer.
    """
    checks = Checks()
    where = checks(check_repo_id, repo_id)
    user = checks(ask_who)
    if where and user:
        checks(check_namespace, where[0], user)
        checks(check_permission, repo_id, user)
    checks.done()
    return user["name"]


def ask_who() -> dict:
    """What the Hub's whoami says about the token in use; raises UserError when it cannot."""
    import httpx
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    api, token = HfApi(), get_token()
    if token is None:
        raise UserError("There is no token for the Hub: set HF_TOKEN or run `hf auth login`.")
    if not token.isascii() or not token.isprintable():
        raise UserError("The Hub token holds characters that no token has: set HF_TOKEN anew.")
    try:
        with answers_within(ANSWER_SECONDS):
            return api.whoami(token=token)
    except OfflineModeIsEnabled:
        raise UserError("HF_HUB_OFFLINE is set, so nothing can be pushed: unset it.") from None
    except HfHubHTTPError as error:
        raise UserError(refusal(error.response.status_code, api.endpoint)) from None
    except httpx.HTTPError as error:
        reason = one_line(error, token) or type(error).__name__
        raise UserError(f"The Hub at {api.endpoint} cannot be reached: {reason}.") from None
    except ValueError as error:
        reason = one_line(error, token)
        raise UserError(f"{api.endpoint} does not answer as the Hub does: {reason}.") from None


@contextmanager
def answers_within(seconds: float):
    """Gives the client that huggingface_hub shares a time limit, for a while."""
    from huggingface_hub import get_session

    session = get_session()
    before, session.timeout = session.timeout, seconds
    try:
        yield
    finally:
        session.timeout = before


def refusal(status: int, endpoint: str) -> str:
    """What to tell the user whom whoami answered with this HTTP status."""
    if status == 401:
        return (
            f"The Hub refuses the token (401). Make one at {endpoint}/settings/tokens, then set "
            "HF_TOKEN or run `hf auth login`."
        )
    if status == 403:
        return no_write_permission("the Hub", endpoint)
    return f"The Hub at {endpoint} answers {status} instead of naming the user; try again later."


def no_write_permission(target: str, endpoint: str) -> str:
    return (
        f"The token may not write to {target}. Make one with write permission at "
        f"{endpoint}/settings/tokens, then set HF_TOKEN or run `hf auth login`."
    )


def check_namespace(namespace: str, user: dict) -> None:
    """Raises UserError unless `namespace` is the user or an organization they can write to."""
    roles = {org["name"]: org.get("roleInOrg") for org in user.get("orgs", [])}
    known = [user["name"], *roles]
    if namespace not in known:
        raise UserError(
            f"The token's user '{user['name']}' cannot push to '{namespace}/...'."
            f"{did_you_mean(namespace, known)} Theirs: {', '.join(known)}."
        )
    if roles.get(namespace) == "read":
        raise UserError(f"'{user['name']}' only has the role 'read' in '{namespace}'.")


def check_permission(repo_id: str, user: dict) -> None:
    """Raises UserError when the token is known to be unable to write to `repo_id`.

    Tokens of a browser login name no role; whether they may write shows at the push.
    """
    from huggingface_hub import HfApi

    token = user.get("auth", {}).get("accessToken", {})
    if token.get("role") == "fineGrained":
        targets = {repo_id, repo_id.split("/")[0]}
        scopes = token.get("fineGrained", {}).get("scoped", [])
        allowed = {s["entity"].get("name") for s in scopes if "repo.write" in s["permissions"]}
        writes = bool(targets & allowed)
    else:
        writes = token.get("role") != "read"
    if not writes:
        raise UserError(no_write_permission(repo_id, HfApi().endpoint))


def push(folder: Path, repo_id: str, private: bool, message: str) -> str:
    """The URL of the model repo `repo_id`, once it holds every file of `folder`, compared.

    The repo is made when it does not exist; files there that `folder` lacks stay. Raises
    PushError when a step fails, when `private` meets a public repo (before anything is
    uploaded), and, naming the files, when what arrived differs.
    """
    from huggingface_hub import HfApi, RepoFile, get_token
    from huggingface_hub.utils import disable_progress_bars

    api, token = HfApi(), get_token()
    if not sys.stderr.isatty():
        disable_progress_bars()
    with failing_as(f"Creating {repo_id}", token):
        # None leaves the choice to the Hub: an organization may make its repos private.
        url = api.create_repo(repo_id, private=private or None, exist_ok=True)
        exposed = private and not api.repo_info(repo_id).private
    if exposed:
        raise PushError(
            f"{repo_id} already exists and is public; nothing was uploaded. Make it private at "
            f"{url}/settings, choose another name, or leave out --private."
        )
    with failing_as(f"Uploading to {repo_id}", token):
        commit = api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message=message)
    with failing_as(f"Listing {repo_id}", token):
        tree = list(api.list_repo_tree(repo_id, recursive=True, revision=commit.oid))
    differences = compare(folder, {e.path: e for e in tree if isinstance(e, RepoFile)})
    if differences:
        raise PushError(f"What arrived at {url} differs: {'; '.join(differences)}. Push again.")
    return str(url)


@contextmanager
def failing_as(step: str, token: str | None):
    """Turns what the client raises into a PushError that names the step and hides the token."""
    import httpx

    try:
        yield
    # huggingface_hub lets through all four: its own HTTP errors, files that cannot be read, an
    # upload thread's RuntimeError, and ValueError for malformed answers and metadata.
    except (httpx.HTTPError, OSError, RuntimeError, ValueError) as error:
        reason = one_line(error, token) or type(error).__name__
        if isinstance(error, RuntimeError) and error.__cause__:
            reason += f" {one_line(error.__cause__, token)}"
        # The library's own traceback would show the token again: `from None`.
        raise PushError(f"{step} failed: {reason}") from None


def one_line(error: BaseException, token: str | None) -> str:
    """The error's text in one line, without the token and the signatures in upload URLs."""
    text = " ".join(str(error).split())
    if token:
        text = text.replace(token, "[token]")
    return re.sub(r"(https?://[^\s?']+)\?[^\s']+", r"\1?...", text).rstrip(".")


def compare(folder: Path, arrived: dict) -> list[str]:
    """How the listing (path -> RepoFile) differs from `folder`: a phrase per wrong file."""
    from huggingface_hub.utils import DEFAULT_IGNORE_PATTERNS, filter_repo_objects

    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    differences = []
    for name in filter_repo_objects(names, ignore_patterns=DEFAULT_IGNORE_PATTERNS):
        path, there = folder / name, arrived.get(name)
        size = path.stat().st_size
        if there is None:
            differences.append(f"{name} is missing")
        elif there.size != size:
            differences.append(f"{name} has {there.size} bytes instead of {size}")
        elif (there.lfs.sha256 if there.lfs else there.blob_id) != content_id(path, there.lfs):
            differences.append(f"{name} has other content")
    return differences


def content_id(path: Path, lfs) -> str:
    """The sha256 of a file in LFS, otherwise the id that git gives its content
    (https://git-scm.com/book/en/v2/Git-Internals-Git-Objects)."""
    if lfs:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    data = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
