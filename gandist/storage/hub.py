"""Models on the Hugging Face Hub, by its own library: fetched into that library's cache, pushed in one commit.

The library finds the user's token by itself (`HF_TOKEN`, or what `hf auth login` keeps). No message here repeats it.
"""

import hashlib
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from gandist.errors import CheckpointError, ConfigError, GandistError

log = logging.getLogger("gandist")

SCHEME = "hf://"
LOG_IN = "run `hf auth login`, or set HF_TOKEN"
NAME = re.compile(r"(?!.*(--|\.\.))\w([\w.-]{0,94}\w)?/\w([\w.-]{0,94}\w)?(?<!\.git)", re.ASCII)


class Address(NamedTuple):
    """A model on the Hub."""

    repo: str
    """OWNER/NAME."""
    revision: str | None
    """A branch, a tag or a commit; None for the newest."""


def is_address(run: str) -> bool:
    """Whether `run` names a model on the Hub."""
    return run.startswith(SCHEME)


def check_name(repo: str, said: str) -> None:
    """Refuse what is no OWNER/NAME.

    Raises:
        ConfigError: the message begins with `said`.
    """
    if not NAME.fullmatch(repo):
        raise ConfigError(
            f"{said}: a model's name on the Hub is OWNER/NAME, each of letters, digits, -, _ and ., as in me/garments"
        )


def parsed(address: str) -> Address:
    """The parts of hf://OWNER/NAME[@REVISION].

    Raises:
        ConfigError: it is written otherwise.
    """
    repo, at, revision = address.removeprefix(SCHEME).partition("@")
    check_name(repo, address)
    if at and not revision:
        raise ConfigError(f"{address}: name a branch, a tag or a commit after the @, or leave it out")
    return Address(repo, revision or None)


def fetched(address: str, patterns: Sequence[str]) -> Path:
    """A folder with the model's files that match, fetched once; without a network, as they were fetched before.

    Files whose sha256 the Hub reports are compared with it, and fetched again if they differ.

    Raises:
        ConfigError: the address is none, or the Hub has no such model or revision.
        GandistError: the library is missing, or the Hub cannot be reached or refuses.
        CheckpointError: a file is damaged on the Hub.
    """
    repo, revision = parsed(address)
    need_library(address)
    from huggingface_hub import snapshot_download

    damaged = ""
    for force in (False, True):
        with _told(address):
            said = snapshot_download(repo, revision=revision, allow_patterns=[*patterns], force_download=force)
        folder = Path(said)
        if not (damaged := _damaged(address, repo, folder)):
            return folder
        log.warning("%s: %s", address, damaged)
    raise CheckpointError(f"{address}: {damaged}, also when it was fetched again; tell its owner")


def _damaged(address: str, repo: str, folder: Path) -> str:
    """The first file that differs from its sha256 on the Hub, in words; empty if none does, or no one answers."""
    from huggingface_hub import HfApi

    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    try:
        told = HfApi().get_paths_info(repo, names, revision=folder.name)
    except Exception as error:
        log.debug("%s: not compared with the Hub: %s", address, type(error).__name__)
        return ""
    for each in told:
        if (lfs := getattr(each, "lfs", None)) is not None:
            found = hashlib.sha256((folder / each.path).read_bytes()).hexdigest()
            if found != lfs.sha256:
                return f"{each.path}: damaged: its sha256 is {found}, the Hub has {lfs.sha256}"
    return ""


def need_library(said: str) -> None:
    """Check early that the Hub's library is installed.

    Raises:
        GandistError: it is not.
    """
    try:
        import huggingface_hub  # noqa: F401
    except ImportError as error:
        raise GandistError(f"{said}: needs huggingface_hub: {error}; pip install 'gandist[hub]'") from error


def check_token(repo: str) -> None:
    """Check early that there is a token, which pushing needs.

    Raises:
        GandistError: there is none, or the library is not installed.
    """
    need_library(repo)
    from huggingface_hub import get_token

    with _told(repo):
        token = get_token()
    if not token:
        raise GandistError(f"{repo}: there is no token of the Hub's on this machine; {LOG_IN} to one that may write")


def pushed(folder: Path, repo: str, private: bool, message: str) -> str:
    """Push all files of a folder in one commit to OWNER/NAME, which is made if it is missing; returns its address.

    Raises:
        ConfigError: it is there and public, and shall be private.
        GandistError: the Hub cannot be reached or refuses, or a file holds the token.
    """
    check_token(repo)
    from huggingface_hub import CommitOperationAdd, HfApi, get_token

    api, files = HfApi(), sorted(path for path in folder.rglob("*") if path.is_file())
    token = (get_token() or "").encode()
    for file in files:
        if token in file.read_bytes():
            raise GandistError(
                f"{file.relative_to(folder)}: holds your token of the Hub; nothing was pushed; remove it"
            )
    with _told(repo, writes=True):
        url = api.create_repo(repo, private=private or None, exist_ok=True)
        is_public = private and not api.model_info(repo).private
    if is_public:
        raise ConfigError(f"--private: {url} is there and public; make it private in its settings first")
    operations = [CommitOperationAdd(str(file.relative_to(folder)), file) for file in files]
    with _told(repo, writes=True):
        api.create_commit(repo, operations, commit_message=message)
    return str(url)


@contextmanager
def _told(said: str, writes: bool = False) -> Iterator[None]:
    """Report what the library raises, inside the context, as faults that a user can mend.

    Raises:
        ConfigError: there is no such model or revision.
        GandistError: all else.
    """
    try:
        yield
    except Exception as error:
        kind, words = _in_words(error, writes)
        raise kind(f"{said}: {words}") from error


def _in_words(error: Exception, writes: bool) -> tuple[type[GandistError], str]:
    """What the library's error means for the user, and the kind of fault."""
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and cause not in chain:
        chain.append(cause)
    names = {type(each).__name__ for each in chain}
    status = next((found for each in chain if (found := _status(each)) is not None), None)
    if "RevisionNotFoundError" in names:
        return ConfigError, "the Hub has this model, but no such revision; name a branch, a tag or a commit"
    if "GatedRepoError" in names:
        return GandistError, "its owner admits users one by one; ask on its page on the Hub, and log in"
    if status == 401 and (writes or "RepositoryNotFoundError" not in names):
        return GandistError, f"the Hub does not accept the token (401); {LOG_IN} to a valid one"
    if status == 403:
        return GandistError, "the token has no permission (403); take one that may write there, or another OWNER"
    if status in (401, 404):
        return ConfigError, f"the Hub has no such model ({status}), or it is private; check the name, or {LOG_IN}"
    if status is not None and status >= 400:
        return GandistError, f"the Hub refuses ({status}): {_plain(error)}"
    if _is_of_network(chain):
        return GandistError, f"the Hub cannot be reached ({type(error).__name__}); check the network and HF_ENDPOINT"
    first = chain[-1]
    return GandistError, f"the Hub's library fails: {type(first).__name__}: {_plain(first)}"


def _status(error: BaseException) -> int | None:
    response: Any = getattr(error, "response", None)
    found = getattr(response, "status_code", None)
    return found if isinstance(found, int) else None


def _is_of_network(chain: Sequence[BaseException]) -> bool:
    """Whether an error is the connection's: the library's client is httpx, whose errors have no base of Python's."""
    modules = {type(each).__module__.partition(".")[0] for each in chain}
    offline = {type(each).__name__ for each in chain} & {"OfflineModeIsEnabled", "LocalEntryNotFoundError"}
    return (
        bool(offline)
        or any(module.startswith("httpx") for module in modules)
        or any(isinstance(each, ConnectionError | TimeoutError) for each in chain)
    )


def _plain(error: BaseException) -> str:
    """An error's text in one line, without the token and without what signs the addresses in it."""
    from huggingface_hub import get_token

    text = str(getattr(error, "server_message", None) or error)
    if token := get_token():
        text = text.replace(token, "(the token)")
    text = re.sub(r"(\w+://[^\s?]+)\?\S+", r"\1", text)
    return " ".join(text.split())[:500]
