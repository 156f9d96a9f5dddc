"""A private branch of a repo on the Hub that holds the latest checkpoint of a run, and in the end
the run. Each is one commit, so it is there whole or not at all; those before it are squashed away.
"""

import re
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from threetoe.errors import UserError
from threetoe.machine.hub import check_push
from threetoe.machine.hub_upload import failing_as, patiently, quiet_client
from threetoe.train.durable import checkpoint
from threetoe.train.durable.checkpoint import MANIFEST, Checkpoint


class HubPlace:
    """The branch of a run; its name has the letters and digits of the run's."""

    def __init__(self, repo_id: str, run: str):
        self.repo_id, self.run = repo_id, run
        name = re.sub("[^A-Za-z0-9]+", "-", run).strip("-")
        others = "" if name == run else f"-{sha256(run.encode()).hexdigest()[:8]}"
        self.branch = f"checkpoints-{name}{others}"

    def __str__(self) -> str:
        return f"hub:{self.repo_id}, branch {self.branch},"

    def check(self) -> None:
        """UserError unless the token may write there, and nobody else reads it."""
        check_push(self.repo_id)
        with self.asking("Looking for") as api:
            public = api.repo_exists(self.repo_id) and not api.repo_info(self.repo_id).private
        if public:
            raise UserError(
                f"--mirror hub:{self.repo_id}: that repo is public, and checkpoints name your "
                "files; name another, or make it private in its settings."
            )

    def has(self, name: str) -> bool:
        with self.asking("Looking for") as api:
            return api.file_exists(self.repo_id, name, revision=self.branch)

    def newest(self) -> tuple[Checkpoint | None, list[str]]:
        """The checkpoint, from the Hub's cache on this machine, or a line that says why not."""
        if not self.has(MANIFEST):
            return None, []
        with self.asking("Downloading") as api:
            folder = Path(api.snapshot_download(self.repo_id, revision=self.branch))
        found, problem = checkpoint.read(folder)
        return found, [f"{self} is passed over: {problem}"] if problem else []

    def put(self, copied: Path, name: str, limit: int = 1) -> None:
        def send() -> None:
            api.create_repo(self.repo_id, private=True, exist_ok=True)
            api.create_branch(self.repo_id, branch=self.branch, exist_ok=True)
            api.upload_folder(
                repo_id=self.repo_id, folder_path=copied, revision=self.branch,
                commit_message=said, delete_patterns=["*"],
            )  # fmt: skip
            api.super_squash_history(self.repo_id, branch=self.branch, commit_message=said)

        said = f"{name} of {self.run}"
        with self.asking("Copying to") as api:
            patiently(send)

    def put_run(self, run: Path) -> None:
        self.put(run, "all")

    @contextmanager
    def asking(self, what: str):
        """The client; what it raises becomes a PushError without the token."""
        from huggingface_hub import HfApi, get_token

        token = get_token()
        with quiet_client(), failing_as(f"{what} hub:{self.repo_id}", token):
            yield HfApi(token=token)
