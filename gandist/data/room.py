"""Room in a node's cache: taken before a file is mapped, asked for in one message, and made from what nobody needs.

What a process works on lies under a lock that it holds while it lives, and that the kernel takes from it when it dies.
So whatever lies under a free lock is a dead process's.
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
    """The disk of the cache has no room."""


def allocate(path: Path, n_bytes: int) -> None:
    """Make a file of n bytes, all zeros, that has its room on the disk: writing to a mapped file that has not ends the
    process (SIGBUS).

    Raises:
        OSError: the disk is full, or a quota used up.
    """
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, n_bytes)


@contextlib.contextmanager
def room_for(what: str, n_bytes: int | None, folder: Path, fix: str = "") -> Iterator[None]:
    """While `what`, of so many bytes if that is known, is written to `folder` of the cache.

    Args:
        fix: what else may be done than to have more room.

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
    """Whether nobody holds the lock; if so it is held inside."""
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
    """Delete what killed processes left in a folder of decoded sets, then the least recently used sets until the rest
    holds at most `allowed` bytes. A set NAME is made under the name .NAME, and the lock NAME.lock.

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
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # another process deletes, too
            size = sum(file.stat().st_size for file in path.iterdir())
            if path.name.startswith("."):
                total += 0 if delete(path, path.name[1:].partition(".")[0]) else size
            else:
                sets.append((path.stat().st_mtime_ns, size, path))
                total += size
    for _, size, path in sorted(sets):
        if total > allowed and delete(path, path.name):
            total -= size
