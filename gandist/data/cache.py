"""A node's cache of fetched shards, and its folder."""

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

from filelock import FileLock

from gandist.data.room import if_free, room_for
from gandist.errors import DataError, UnreachableError
from gandist.storage.remote import copy, is_remote


def default_cache_dir() -> Path:
    """`$XDG_CACHE_HOME/gandist`, or `~/.cache/gandist`. In a container the user may have no home, or may not own it:
    then `gandist-UID` in the folder for temporary files.

    Raises:
        OSError: the machine has no folder for temporary files.
    """
    if chosen := os.environ.get("XDG_CACHE_HOME"):
        return Path(chosen) / "gandist"
    with contextlib.suppress(RuntimeError):  # neither HOME nor a passwd entry
        cache = Path.home() / ".cache"
        # os.path returns False for a folder without access; Path raises.
        there = next(path for path in (cache, *cache.parents) if os.path.exists(path))  # noqa: PTH110
        if there == cache or os.access(there, os.W_OK):
            return cache / "gandist"
    return Path(tempfile.gettempdir()) / f"gandist-{os.getuid()}"


class ShardCache:
    """Fetched shards on this node's disk, by sha256; at most `max_bytes`. The node's processes share them."""

    def __init__(self, folder: Path, max_bytes: int):
        self.folder = folder
        self.max_bytes = max_bytes

    def fetch(self, url: str, sha256: str | None, bytes: int | None) -> Path:
        """A local file with the content of `url`; a local `url` is returned unchanged.

        Open the file at once: a shard that was not requested lately may be evicted at any time (an open file stays
        readable). Processes that request the same shard at the same time fetch it once.

        Args:
            sha256: the expected hash of the content; None if unknown, which always fetches.
            bytes: the expected length, if known.

        Raises:
            DataError: the shard is missing, unreachable, larger than the cache, or has another sha256; names the URL.
        """
        if not is_remote(url):
            if not Path(url).is_file():
                raise DataError(f"{url}: no such shard")
            return Path(url)
        if bytes is not None and bytes > self.max_bytes:
            raise self._too_large(url, bytes)
        if held := self._held(sha256, bytes):
            return held
        name = sha256 or hashlib.sha256(url.encode()).hexdigest()
        locks = self.folder / "locks"
        try:
            locks.mkdir(parents=True, exist_ok=True)
            # A fixed number of lock files, because they cannot be removed safely.
            with FileLock(locks / f"{name[:2]}.lock"):
                if held := self._held(sha256, bytes):
                    return held
                part = self.folder / f"{name}.part"
                try:
                    return self._download(url, part, sha256, bytes)
                finally:
                    part.unlink(missing_ok=True)
        except OSError as error:
            raise UnreachableError(
                f"{self.folder}: cannot hold the cache: {error.strerror or error}; set data.cache_dir (or "
                "XDG_CACHE_HOME) to a folder that can be written to"
            ) from error

    def _held(self, sha256: str | None, bytes: int | None) -> Path | None:
        if sha256 is None:
            return None
        path = self.folder / sha256
        with contextlib.suppress(FileNotFoundError):
            with contextlib.suppress(PermissionError):  # another user's file, which is readable
                os.utime(path)  # marks it as most recently used
            if bytes is None or path.stat().st_size == bytes:
                return path
        return None

    def _download(self, url: str, part: Path, sha256: str | None, bytes: int | None) -> Path:
        self._make_room(bytes or 0, keep=part)
        with room_for(f"the shard {url}", bytes, self.folder), part.open("w+b") as file:
            try:
                copy(url, file)
            except FileNotFoundError as error:
                raise DataError(f"{url}: no such shard") from error
            size = file.tell()
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != (sha256 or digest):
            raise DataError(
                f"{url}: its sha256 is {digest} ({size} bytes), but the index says {sha256} ({bytes} bytes): "
                "the shard was damaged or replaced; restore it, or index the set anew with --index-only"
            )
        if size > self.max_bytes:
            raise self._too_large(url, size)
        path = self.folder / digest
        part.replace(path)
        self._make_room(0, keep=path)
        return path

    def _make_room(self, needed: int, keep: Path) -> None:
        """Delete leftovers of killed processes, then the least recently used shards, until `needed` bytes more fit."""
        locks = self.folder / "locks"
        with FileLock(locks / "evict.lock"):
            total, shards = needed, []
            for path in self.folder.iterdir():
                with contextlib.suppress(FileNotFoundError):
                    status = path.stat()
                    if path.suffix == ".part":
                        with if_free(locks / f"{path.name[:2]}.lock") as free:
                            path.unlink() if free else None
                        total += 0 if free else status.st_size
                    elif path.is_file():
                        shards.append((status.st_mtime_ns, status.st_size, path))
                        total += status.st_size
            for _, size, path in sorted(shards):
                if total > self.max_bytes and path != keep:
                    path.unlink(missing_ok=True)
                    total -= size

    def _too_large(self, url: str, size: int) -> UnreachableError:
        return UnreachableError(
            f"{url}: a shard of {size} bytes does not fit into the cache of {self.max_bytes} bytes "
            f"({self.folder}); raise data.cache_gib, or pack smaller shards (--shard-size)"
        )
