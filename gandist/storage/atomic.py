"""Atomic writes of local files: written under a name that starts with a dot, then renamed."""

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_atomically(path: Path) -> Iterator[Path]:
    """A scratch path to write to; it becomes `path` if the block succeeds, and is deleted otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = scratch_beside(path)
    try:
        yield scratch
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


def write_atomically(path: Path, data: bytes | memoryview, check: Callable[[], None] = lambda: None) -> None:
    """Create or replace a file; a reader sees the old content or the new, also after a power cut.

    Args:
        check: runs right before the file appears, and raises an error to forbid it.
    """
    with written_atomically(path) as scratch:
        write_synced(scratch, data)
        check()
    sync_folder(path.parent)


def scratch_beside(path: Path) -> Path:
    """A hidden name beside `path` that no other writer uses, on this machine or another."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}")


def write_synced(path: Path, data: bytes | memoryview) -> None:
    """Write a file, and wait until it is on the disk."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Wait until a folder's entries are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
