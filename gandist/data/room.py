"""Room in a node's cache: reserved before a file is mapped, missing room reported in one message, unused files deleted.

A living process holds a lock on the files it uses; the kernel frees the lock when the process dies. So files
under a free lock belong to a dead process.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from gandist.errors import DataError, UnreachableError
from gandist.storage.remote import FULL


class FullError(UnreachableError):
    """The disk of the cache is full."""


def allocate(path: Path, n_bytes: int) -> None:
    """Make a file of n zero bytes with its disk space reserved: writing to a mapped file without space kills the
    process (SIGBUS).

    Raises:
        OSError: the disk is full, or a quota is used up.
    """
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, n_bytes)


@contextlib.contextmanager
def room_for(what: str, n_bytes: int | None, folder: Path, fix: str = "") -> Iterator[None]:
    """Context for writing `what`, of `n_bytes` bytes if known, to `folder` of the cache.

    Args:
        fix: an alternative to freeing space, for the message.

    Raises:
        FullError: the disk is full.
    """
    try:
        yield
    except FullError:
        raise
    except (OSError, DataError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        if not isinstance(cause, OSError) or cause.errno not in FULL:
            raise
        needs = "" if n_bytes is None else f"it takes {n_bytes:,} bytes, and "
        raise FullError(
            f"data.cache_dir: {folder} has no room for {what} ({os.strerror(cause.errno)}): "
            f"{needs}{shutil.disk_usage(folder).free:,} are free; make room, or name a folder on another disk{fix}"
        ) from error


@contextlib.contextmanager
def if_free(lock: Path) -> Iterator[bool]:
    """Whether the lock is free; if so it is held inside the context."""
    held = FileLock(lock)
    try:
        held.acquire(timeout=0)
    except (Timeout, OSError):
        yield False
        return
    try:
        yield True
    finally:
        held.release()


def sweep_decoded(folder: Path, allowed: int, mine: str) -> None:
    """Delete leftovers of killed processes in a folder of decoded sets, then the least recently used sets, until the
    rest holds at most `allowed` bytes. A set NAME is written as .NAME, under the lock NAME.lock.

    Args:
        mine: the set whose lock the caller holds.
    """

    def delete(path: Path, name: str) -> bool:
        with contextlib.nullcontext(True) if name == mine else if_free(folder / f"{name}.lock") as free:
            if free:
                shutil.rmtree(path, ignore_errors=True)
            return free

    sets, total = [], 0
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # another process may delete them, too
            size = sum(file.stat().st_size for file in path.iterdir())
            if path.name.startswith("."):
                total += 0 if delete(path, path.name[1:].partition(".")[0]) else size
            else:
                sets.append((path.stat().st_mtime_ns, size, path))
                total += size
    for _, size, path in sorted(sets):
        if total > allowed and delete(path, path.name):
            total -= size
