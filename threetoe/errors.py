"""What can go wrong, in words that help: UserError is a mistake the user can mend.

UserError      one or more problems of the call itself; shown line by line, exit code 2
Failure        work that could not be finished, in one line; what was saved stays, exit code 1
  Stopped      a signal asked for the end; exit code 130 or 143
  PluginError  a plugin raised in one of its hooks; named with hook, file and line
  PushError    what reached the Hub, or did not (threetoe.machine.hub_upload)
"""

import difflib
import re
from contextlib import contextmanager
from pathlib import Path

TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{16,}\b")  # of the Hub
TYPED_TOKEN = (
    "A token was typed as an argument, so it is in the shell's history now: revoke it at "
    "https://huggingface.co/settings/tokens, and put a new one into HF_TOKEN or run "
    "`hf auth login`."
)


class UserError(Exception):
    """Problems that the user can mend: what was asked, what is wrong, which flag mends it."""

    def __init__(self, *problems: str):
        super().__init__("\n".join(problems))
        self.problems = list(problems)


class Failure(Exception):
    """Work that could not be finished; what was saved before stays saved."""

    code = 1  # with which the process ends

    def __init__(self, *problems: str):
        super().__init__("\n".join(problems))
        self.problems = list(problems)


class Stopped(Failure):
    """Work that was asked to stop, and says how it goes on; `code` is 128 and the signal."""

    def __init__(self, said: str, code: int):
        super().__init__(said)
        self.code = code


class PluginError(Failure):
    """A plugin raised in one of its hooks; the message names plugin, hook, file and line."""


class Checks:
    """Gathers the problems of one call, so that all of them are reported together.

    `checks(find, name)` returns what `find(name)` returns, or None when that raised a
    UserError; `checks.done()` raises one UserError with everything that was found.
    """

    def __init__(self, problems=()):
        self.problems = list(problems)

    def __call__(self, ask, *args, **kwargs):
        try:
            return ask(*args, **kwargs)
        except UserError as error:
            self.problems += error.problems
            return None

    def done(self) -> None:
        if self.problems:
            raise UserError(*dict.fromkeys(self.problems))


def did_you_mean(name: str, known) -> str:
    """' Did you mean X?' when a known name is close to this one, else ''."""
    close = difflib.get_close_matches(str(name), [str(k) for k in known], n=1, cutoff=0.6)
    return f" Did you mean '{close[0]}'?" if close else ""


def without_tokens(text: str) -> str:
    """The text with what looks like a token of the Hub hidden."""
    return TOKEN.sub("[token]", text)


def no_such_file(path: Path) -> UserError:
    """The error for a missing file; a file beside it with a similar name is suggested."""
    if path.is_symlink():
        return UserError(f"No such file: {path} is a link to {path.readlink()}, which is none.")
    if not path.parent.is_dir():
        return UserError(f"No such file: {path}. There is no folder {path.parent}.")
    nearby = [file.name for file in path.parent.iterdir() if file.is_file()]
    alike = [n for n in nearby if difflib.get_close_matches(path.stem, [Path(n).stem], cutoff=0.6)]
    close = difflib.get_close_matches(path.name, alike, n=1, cutoff=0.75)
    close = close or [name for name in nearby if Path(name).stem == path.name]
    hint = f" Did you mean '{path.with_name(close[0])}'?" if close else ""
    return UserError(f"No such file: {path}.{hint}")


@contextmanager
def reading(path: Path):
    """Turns what can go wrong with reading a text file into a UserError that names it."""
    try:
        yield
    except FileNotFoundError:
        raise no_such_file(path) from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or first_line(error)}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8.") from error


def first_line(error: BaseException) -> str:
    """What an exception says, in one line; its type's name when it says nothing."""
    try:
        said = str(error).strip()
    except Exception:  # strangers' code writes exceptions too, and some cannot be shown
        said = ""
    return next(iter(said.splitlines()), type(error).__name__)


def unknown(kind: str, name: str, known) -> UserError:
    """The error for a name that is not among the known ones."""
    known = sorted(known)
    available = f" Available: {', '.join(known)}." if known else ""
    return UserError(f"No {kind} named '{name}'.{did_you_mean(name, known)}{available}")
