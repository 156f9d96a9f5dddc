"""A small Hub on 127.0.0.1 that speaks the wire protocol of huggingface_hub, and can fail.

It stores what it is sent and judges tokens, roles and namespaces as the Hub does. Whether Xet or
LFS is used is decided by the client alone: the fixture chooses LFS with the client's own
HF_HUB_DISABLE_XET; the fixture `xet_hub` leaves the client its default, Xet, with a folder as
storage.
"""

import base64
import hashlib
import importlib
import json
import os
import re
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import pytest

LFS_SUFFIXES = (".safetensors", ".bin", ".gguf", ".parquet")
LFS_BYTES = 10 * 1024**2
TOKEN = "hf_TheSecretOfAdaLovelace"


@dataclass
class Hub:
    """What the server knows: tests read it, prepare it, and tell it how to fail."""

    endpoint: str = ""
    users: dict = field(default_factory=dict)  # token -> what whoami answers
    repos: dict = field(default_factory=dict)  # id -> {private, branches: {name: commits}}
    objects: dict = field(default_factory=dict)  # sha256 -> bytes, as LFS stores them
    requests: list = field(default_factory=list)  # (method, path, body) in order of arrival
    failures: list = field(default_factory=list)  # [method, path regex, status, times, headers]
    cas: str = ""  # the folder where hf_xet stores what it uploads, "" for no Xet
    spoiled: dict = field(default_factory=dict)  # path -> bytes to store instead, None for none
    ended: threading.Event = field(default_factory=threading.Event)

    def add_user(self, name: str, token: str = TOKEN, role: str = "write", orgs=(), scoped=()):
        access = {"displayName": "test", "role": role}
        if role == "fineGrained":
            access["fineGrained"] = {"global": [], "scoped": list(scoped)}
        orgs = [{"type": "org", "name": org, "roleInOrg": rank} for org, rank in dict(orgs).items()]
        auth = {"type": "access_token", "accessToken": access}
        self.users[token] = {"type": "user", "name": name, "orgs": orgs, "auth": auth}

    def fail(self, method: str, path: str, status: int, times: int = 1000, **headers) -> None:
        """Answers the next `times` matching requests with `status`.

        0 cuts the connection, 200 answers with a page as a hotel's login does, -1 is silent for a
        second, -2 does what it is asked and cuts the connection then, and -3 never answers.
        """
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.failures.append([method, re.compile(path), status, times, headers])

    def add_repo(self, repo_id: str, private: bool = False, files: dict | None = None) -> None:
        self.repos[repo_id] = {"private": private, "branches": {"main": []}}
        entries = {path: entry(data) for path, data in (files or {}).items()}
        self.commit(repo_id, {".gitattributes": entry(b"*.safetensors filter=lfs\n"), **entries})

    def commit(self, repo_id: str, entries: dict, branch: str = "main") -> str:
        branches = self.repos[repo_id]["branches"]
        count = sum(map(len, branches.values()))
        oid = hashlib.sha1(f"{repo_id} {count}".encode()).hexdigest()
        branches[branch].append((oid, entries))
        return oid

    def files(self, repo_id: str, branch: str = "main") -> dict[str, bytes]:
        """The newest bytes of every file of the repo, by path."""
        entries = self.repos[repo_id]["branches"][branch][-1][1]
        return {path: e["data"] for path, e in entries.items()}

    def open_pull_request(self, repo_id: str) -> int:
        """Its number; its ref starts where main is."""
        branches = self.repos[repo_id]["branches"]
        number = 1 + sum(name.startswith("refs/pr/") for name in branches)
        branches[f"refs/pr/{number}"] = branches["main"][-1:]
        return number

    def asked(self, method: str, path: str) -> list[bytes]:
        """The bodies of the requests that matched, in order."""
        return [body for m, p, body in self.requests if m == method and re.search(path, p)]


def entry(data: bytes, lfs: bool = False) -> dict:
    """A file as a tree holds it: the git blob is the content, or the LFS pointer to it."""
    sha = hashlib.sha256(data).hexdigest()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha}\nsize {len(data)}\n"
    blob = pointer.encode() if lfs else data
    oid = hashlib.sha1(b"blob %d\0" % len(blob) + blob).hexdigest()
    stored = {"data": data, "size": len(data), "oid": oid, "lfs": sha if lfs else None}
    return stored | {"pointer": len(blob)}


class Refusal(Exception):
    """An answer other than 200: status, message and the Hub's X-Error-Code."""

    def __init__(self, status: int, message: str, code: str = "", **more):
        super().__init__(status, message, code, more)


class Handler(BaseHTTPRequestHandler):
    """One request: read, recorded, failed if told so, else routed by method and path."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else every answer waits 40 ms for an acknowledgement
    hub: Hub

    def do_GET(self):
        body, path = self.read_body(), unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, self.path, body))
        for failure in self.hub.failures:
            method, pattern, status, left, headers = failure
            if left and method == self.command and pattern.search(path):
                failure[3] -= 1
                self.lost = status == -2
                if not self.lost:
                    return self.misbehave(status, headers)
        for method, pattern, route in ROUTES:
            found = re.fullmatch(pattern, path)
            if found and self.command in method:
                return self.follow(route, found.groups(), body)
        self.answer(404, {"error": "Not Found"})

    do_POST = do_PUT = do_HEAD = do_GET
    lost = False  # whether the connection is cut once all is done

    def misbehave(self, status: int, headers: dict) -> None:
        if status > 0:
            page = f"<html>for {self.authorization()}</html>".encode()
            error = {"error": f"told to, for {self.authorization()}"}
            return self.answer(status, page if status == 200 else error, headers)
        if status == -1:
            time.sleep(1)
        if status == -3:
            self.hub.ended.wait()
        self.close_connection = True  # without a byte of an answer

    def follow(self, route, groups, body: bytes) -> None:
        try:
            self.answer(200, route(self, *groups, body=body))
        except Refusal as refusal:
            status, message, code, more = refusal.args
            self.answer(status, {"error": message, **more}, {"X-Error-Code": code})

    def read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def answer(self, status: int, value, headers: dict | None = None) -> None:
        if self.lost:
            self.close_connection, self.lost = True, False
            return
        data, headers = value if isinstance(value, tuple) else (value, headers or {})
        if not isinstance(data, bytes):
            data = json.dumps(data).encode()
            headers = {"Content-Type": "application/json", **headers}
        self.send_response(status)
        for name, text in headers.items():
            self.send_header(name, text)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *args):
        """Silent: the requests are in `hub.requests`."""

    def authorization(self) -> str:
        return self.headers.get("Authorization", "").removeprefix("Bearer ")

    def user(self) -> dict:
        if self.authorization() not in self.hub.users:
            raise Refusal(401, "Invalid username or password.")
        return self.hub.users[self.authorization()]

    def check_write(self, repo_id: str, pull_request: bool = False) -> None:
        """Refuses who may not write; a pull request may come from everyone."""
        if pull_request and self.user():
            return
        user, namespace = self.user(), repo_id.split("/")[0]
        access = user["auth"]["accessToken"]
        scopes = access.get("fineGrained", {}).get("scoped", [])
        granted = {s["entity"]["name"] for s in scopes if "repo.write" in s["permissions"]}
        writes = access["role"] == "write" or granted & {namespace, repo_id}
        orgs = {org["name"] for org in user["orgs"] if org["roleInOrg"] != "read"}
        if not writes or namespace not in {user["name"], *orgs}:
            raise Refusal(403, f"You don't have the rights to write to {repo_id}.")

    def repo(self, repo_id: str) -> dict:
        if repo_id not in self.hub.repos:
            raise Refusal(404, "Repository not found", "RepoNotFound")
        return self.hub.repos[repo_id]

    def tree(self, repo_id: str, revision: str) -> tuple[str, dict]:
        branches = self.repo(repo_id)["branches"]
        known = {oid: (oid, entries) for commits in branches.values() for oid, entries in commits}
        known |= {name: commits[-1] for name, commits in branches.items()}
        if revision not in known:
            raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return known[revision]


def whoami(request, body):
    return request.user()


def validate_yaml(request, body):
    return {"errors": [], "warnings": []}


def create_repo(request, body):
    asked = json.loads(body)
    repo_id = f"{asked['organization'] or request.user()['name']}/{asked['name']}"
    url = f"{request.hub.endpoint}/{repo_id}"
    request.check_write(repo_id)
    if repo_id in request.hub.repos:
        raise Refusal(409, "You already created this model repo", url=url)
    request.hub.add_repo(repo_id, private=asked.get("visibility") == "private")
    return {"url": url, "name": repo_id}


def model_info(request, repo_id, revision="main", body=b""):
    oid, entries = request.tree(repo_id, revision)
    siblings = [{"rfilename": path, "size": file["size"]} for path, file in entries.items()]
    repo = request.repo(repo_id)
    known = {"id": repo_id, "sha": oid, "private": repo["private"], "siblings": siblings}
    return known | {"tags": [], "cardData": repo.get("card", {})}


def preupload(request, repo_id, revision, body):
    request.check_write(repo_id, "create_pr=1" in request.path)
    _, entries = request.tree(repo_id, revision)
    files = []
    for file in json.loads(body)["files"]:
        lfs = file["path"].endswith(LFS_SUFFIXES) or file["size"] > LFS_BYTES
        there = entries.get(file["path"], {})
        oid = there.get("lfs") or there.get("oid")
        mode = {"uploadMode": "lfs" if lfs else "regular", "shouldIgnore": False, "oid": oid}
        files.append({"path": file["path"], **mode})
    return {"files": files}


def lfs_batch(request, repo_id, body):
    request.user()  # a pull request may come from everyone; the commit is what is judged
    objects = []
    for wanted in json.loads(body)["objects"]:
        upload = {"href": f"{request.hub.endpoint}/lfs/{wanted['oid']}?X-Amz-Signature=5ec2e7"}
        verify = {"href": f"{request.hub.endpoint}/{repo_id}.git/info/lfs/objects/verify"}
        known = wanted["oid"] in request.hub.objects
        objects.append(
            wanted if known else wanted | {"actions": {"upload": upload, "verify": verify}}
        )
    return {"transfer": "basic", "objects": objects}


def lfs_put(request, oid, body):
    if hashlib.sha256(body).hexdigest() != oid:
        raise Refusal(400, "The content does not have the sha256 of its name.")
    request.hub.objects[oid] = body
    return b"", {"ETag": f'"{oid}"'}


def lfs_verify(request, repo_id, body):
    asked = json.loads(body)
    if len(request.hub.objects.get(asked["oid"], b"")) != asked["size"]:
        raise Refusal(404, "Object does not exist")
    return {"message": "ok"}


def create_branch(request, repo_id, branch, body):
    request.check_write(repo_id)
    branches = request.repo(repo_id)["branches"]
    if branch in branches:
        raise Refusal(409, f"Reference already exists: {branch}")
    branches[branch] = branches["main"][-1:]
    return {}


def squash(request, repo_id, branch, body):
    request.check_write(repo_id)
    branches = request.repo(repo_id)["branches"]
    branches[branch] = branches[branch][-1:]
    return {}


def open_pull_request(request, repo_id, body):
    request.user()
    return {"num": request.hub.open_pull_request(repo_id), "pullRequest": json.loads(body)}


def discussion(request, repo_id, number, body):
    ref = f"refs/pr/{number}"
    changes = {"base": "refs/heads/main", "mergeCommitId": None, "gitReference": ref}
    about = {"title": "t", "num": int(number), "status": "draft", "isPullRequest": True}
    about |= {"author": {"name": "ada"}, "createdAt": "2026-01-01T00:00:00.000Z", "events": []}
    about |= {"repo": {"name": repo_id, "type": "model"}, "filesWithConflicts": False}
    return about | {"changes": changes, "diffUrl": ""}


def commit(request, repo_id, revision, body):
    pull_request = "create_pr=1" in request.path
    request.check_write(repo_id, pull_request or revision.startswith("refs/pr/"))
    entries = dict(request.tree(repo_id, revision)[1])
    for line in map(json.loads, body.splitlines()):
        value = line["value"]
        if line["key"] == "file":
            entries[value["path"]] = entry(base64.b64decode(value["content"]))
        elif line["key"] == "lfsFile":
            entries[value["path"]] = large_file(request.hub, value)
        elif line["key"] == "deletedFile":
            del entries[value["path"]]
    for path, data in request.hub.spoiled.items():
        was = entries.pop(path)
        if data is not None:
            entries[path] = entry(data, lfs=bool(was["lfs"]))
    pull = {}
    if pull_request:
        number = request.hub.open_pull_request(repo_id)
        pull = {"pullRequestUrl": f"{request.hub.endpoint}/{repo_id}/discussions/{number}"}
        revision = f"refs/pr/{number}"
    oid = request.hub.commit(repo_id, entries, revision)
    url = f"{request.hub.endpoint}/{repo_id}/commit/{oid}"
    return {"success": True, "commitOid": oid, "commitUrl": url, "hookOutput": "", **pull}


def large_file(hub: Hub, value: dict) -> dict:
    """The entry of an uploaded large file; what Xet holds is known by hash and size alone."""
    if hub.cas:
        return {**entry(b"", lfs=True), "data": None, "lfs": value["oid"], "size": value["size"]}
    if value["oid"] not in hub.objects:
        raise Refusal(400, f"LFS object {value['oid']} was not uploaded")
    return entry(hub.objects[value["oid"]], lfs=True)


def xet_write_token(request, repo_id, revision, body):
    request.check_write(repo_id, "create_pr=1" in request.path)
    if not request.hub.cas:
        raise Refusal(404, "Xet is not offered")
    # "local://" is the storage that hf_xet simulates in a folder for its own tests.
    url = f"local://{request.hub.cas}"
    return {"casUrl": url, "accessToken": "xet", "exp": int(time.time()) + 3600}


def list_tree(request, repo_id, revision, body):
    _, entries = request.tree(repo_id, revision)
    folders = {path.rsplit("/", 1)[0] for path in entries if "/" in path}
    listing = [{"type": "directory", "oid": "0" * 40, "size": 0, "path": path} for path in folders]
    for path, file in entries.items():
        size = file["size"]
        lfs = {"oid": file["lfs"], "size": size, "pointerSize": file["pointer"]}
        shown = {"type": "file", "oid": file["oid"], "size": size, "path": path}
        listing.append(shown | {"lfs": lfs} if file["lfs"] else shown)
    return listing


def resolve(request, repo_id, revision, path, body):
    oid, entries = request.tree(repo_id, revision)
    if path not in entries:
        raise Refusal(404, "Entry not found", "EntryNotFound")
    if request.repo(repo_id).get("gated"):
        raise Refusal(403, "Access to this model is restricted", "GatedRepo")
    etag = f'"{entries[path]["lfs"] or entries[path]["oid"]}"'
    return entries[path]["data"], {"ETag": etag, "X-Repo-Commit": oid}


REPO = r"([\w.-]+/[\w.-]+?)"
ROUTES = [
    ("GET", r"/api/whoami-v2", whoami),
    ("POST", r"/api/validate-yaml", validate_yaml),
    ("POST", r"/api/repos/create", create_repo),
    ("GET", rf"/api/models/{REPO}", model_info),
    ("GET", rf"/api/models/{REPO}/revision/(.+)", model_info),
    ("POST", rf"/api/models/{REPO}/preupload/(.+)", preupload),
    ("POST", rf"/{REPO}\.git/info/lfs/objects/batch", lfs_batch),
    ("POST", rf"/{REPO}\.git/info/lfs/objects/verify", lfs_verify),
    ("PUT", r"/lfs/(\w+)", lfs_put),
    ("POST", rf"/api/models/{REPO}/branch/(.+)", create_branch),
    ("POST", rf"/api/models/{REPO}/super-squash/(.+)", squash),
    ("POST", rf"/api/models/{REPO}/discussions", open_pull_request),
    ("GET", rf"/api/models/{REPO}/discussions/(\d+)", discussion),
    ("POST", rf"/api/models/{REPO}/commit/(.+)", commit),
    ("GET", rf"/api/models/{REPO}/xet-write-token/(.+)", xet_write_token),
    ("GET", rf"/api/models/{REPO}/tree/(.+)", list_tree),
    ("GET HEAD", rf"/{REPO}/resolve/([^/]+)/(.+)", resolve),
]


@contextmanager
def serve():
    """A running Hub on a free port of 127.0.0.1, as its state."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("BoundHandler", (Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        hub.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()


def reread_environment() -> None:
    """Makes an imported huggingface_hub read HF_* again: it reads them once, on import.

    Its modules look names up in `constants` when they are called, so reloading that one module
    is all it takes; the HTTP client they share is closed because it keeps the old proxies.
    """
    from huggingface_hub import close_session, constants

    close_session()
    importlib.reload(constants)


@pytest.fixture(name="hub")
def hub_fixture(tmp_path):
    """A running Hub where TOKEN is that of the user ada, used by this process and by children."""
    with serve() as hub, pytest.MonkeyPatch.context() as patch:
        hub.add_user("ada", orgs={"engines": "write", "readers": "read"})
        for name in [n for n in os.environ if n.startswith(("HF_", "HUGGING", "TRANSFORMERS_OFF"))]:
            patch.delenv(name)
        patch.setenv("HF_ENDPOINT", hub.endpoint)
        patch.setenv("HF_TOKEN", TOKEN)
        patch.setenv("HF_HOME", str(tmp_path / "hf-home"))
        patch.setenv("HF_HUB_DISABLE_XET", "1")
        patch.setenv("NO_PROXY", "127.0.0.1")
        reread_environment()
        yield hub
        patch.undo()
        reread_environment()


@pytest.fixture(name="xet_hub")
def xet_hub_fixture(hub, monkeypatch, tmp_path):
    """The same Hub reached as users' machines do by default, through Xet."""
    hub.cas = str(tmp_path / "cas")
    monkeypatch.delenv("HF_HUB_DISABLE_XET")
    reread_environment()
    return hub
