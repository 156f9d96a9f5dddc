"""The Hub, asked beforehand: whether it is there, an id's form, the token, what it may write."""

import os
import re
import sys
from concurrent.futures import Future
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import Thread

from threetoe.errors import Checks, UserError, did_you_mean

ANSWER_SECONDS = 15  # huggingface_hub itself waits for ever
SIGN_SECONDS = 4  # for the Hub to give a sign; the client tries for 50


def is_repo_id(text: str) -> bool:
    """Whether a text has the form user/name of a repository on the Hub."""
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(text)
    except HFValidationError:
        return False
    return text.count("/") == 1 and len(text) <= 96


def is_hub_id(name: str) -> bool:
    """Whether a name means a repository on the Hub: a file or folder of that name comes first, as
    it does for loading."""
    return is_repo_id(name) and not Path(name).exists()


def look_up(name: str) -> str:
    """The name, for a library that finds it here, in the Hub's cache or on the Hub.

    Where it can only be on the Hub, and that gives no sign, the libraries are told that they are
    offline: then they take at once what the cache has, or say that it has nothing.
    """
    if not Path(name).exists() and not gives_a_sign(endpoint()):
        from huggingface_hub import constants

        os.environ["HF_HUB_OFFLINE"] = "1"
        constants.HF_HUB_OFFLINE = True
        if datasets := sys.modules.get("datasets"):
            datasets.config.HF_HUB_OFFLINE = True
    return name


def endpoint() -> str:
    from huggingface_hub import constants

    return constants.ENDPOINT


@cache
def gives_a_sign(endpoint: str) -> bool:
    """Whether anything answers there within SIGN_SECONDS; asked once. True where the libraries know
    already that they are offline."""
    import httpx
    from huggingface_hub import constants, get_session

    if constants.is_offline_mode():
        return True

    answered: Future = Future()

    def ask() -> None:  # in a thread: finding a host's address knows no time limit
        try:
            get_session().head(endpoint, timeout=SIGN_SECONDS)
            answered.set_result(True)
        except httpx.HTTPError:
            answered.set_result(False)

    Thread(target=ask, daemon=True).start()
    try:
        return answered.result(SIGN_SECONDS)
    except TimeoutError:
        return False


def check_repo_id(repo_id: str) -> tuple[str, str]:
    """The (namespace, name) of a repo id, judged by its form alone: no network.

    Raises UserError where huggingface_hub or the Hub would refuse the form.
    """
    if is_repo_id(repo_id):
        namespace, name = repo_id.split("/")
        return namespace, name
    raise UserError(
        f"'{repo_id}' is not a Hub repo id. A right one looks like user/model: letters, digits, "
        "'-', '_' and '.', at most 96 characters, without '--' or '..', not ending in '.git'."
    )


def check_push(repo_id: str, create_pr: bool = False, revision: str | None = None) -> str:
    """The name of the user who would push to `repo_id`, once everything checkable is right.

    Raises one UserError with a line each for a malformed id, a missing, refused or read-only
    token, a namespace that is not the user's, and a Hub that does not answer. A pull request
    (`create_pr`) may go to anyone's repo that exists, but only to its main branch.
    """
    checks = Checks()
    if create_pr and revision not in (None, "main"):
        checks.problems.append(
            f"--create-pr opens a pull request against main; leave out --revision {revision}."
        )
    where = checks(check_repo_id, repo_id)
    user = checks(ask_who)
    if where and user:
        theirs = [user["name"], *(org["name"] for org in user.get("orgs", []))]
        if create_pr and where[0] not in theirs:
            checks(check_exists, repo_id)
        else:
            checks(check_namespace, where[0], user)
            checks(check_permission, repo_id, user)
    checks.done()
    return user["name"]


def check_exists(repo_id: str) -> None:
    """Raises UserError unless there is a model repo of this id that the token may see."""
    from huggingface_hub import HfApi

    with answers_within(ANSWER_SECONDS), asking(HfApi().endpoint):
        if not HfApi().repo_exists(repo_id):
            raise UserError(
                f"--create-pr: the Hub has no {repo_id}, or none that the token in use may see."
            )


def ask_who() -> dict:
    """What the Hub's whoami says about the token in use; raises UserError when it cannot."""
    from huggingface_hub import HfApi, get_token

    api, token = HfApi(), get_token()
    if token is None:
        raise UserError("There is no token for the Hub: set HF_TOKEN or run `hf auth login`.")
    if not token.isascii() or not token.isprintable():
        raise UserError("The Hub token holds characters that no token has: set HF_TOKEN anew.")
    with answers_within(ANSWER_SECONDS), asking(api.endpoint, token):
        return api.whoami(token=token)


@contextmanager
def asking(endpoint: str, token: str | None = None):
    """Turns what the client raises while it asks into a UserError without the token."""
    import httpx
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    try:
        yield
    except OfflineModeIsEnabled:
        raise UserError("HF_HUB_OFFLINE is set, so nothing can be pushed: unset it.") from None
    except HfHubHTTPError as error:
        raise UserError(refusal(error.response.status_code, endpoint)) from None
    except httpx.HTTPError as error:
        reason = one_line(error, token) or type(error).__name__
        raise UserError(f"The Hub at {endpoint} cannot be reached: {reason}.") from None
    except ValueError as error:
        reason = one_line(error, token)
        raise UserError(f"{endpoint} does not answer as the Hub does: {reason}.") from None


def one_line(error: BaseException, token: str | None) -> str:
    """The error's text in one line, without the token and the signatures in upload URLs."""
    text = " ".join(str(error).split())
    if token:
        text = text.replace(token, "[token]")
    return re.sub(r"(https?://[^\s?']+)\?[^\s']+", r"\1?...", text).rstrip(".")


@contextmanager
def answers_within(seconds: float):
    """Gives every request of the client that huggingface_hub shares a time limit, for a while:
    on connecting, and on each read and write. Some of its calls ask for none outright."""
    from huggingface_hub import get_session

    def limit(request):
        asked = request.extensions.get("timeout", {})
        kinds = ("connect", "read", "write", "pool")
        request.extensions["timeout"] = {k: min(asked.get(k) or seconds, seconds) for k in kinds}

    hooks = get_session().event_hooks["request"]
    hooks.append(limit)
    try:
        yield
    finally:
        hooks.remove(limit)


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
