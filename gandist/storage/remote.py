"""Files that lie here or elsewhere (s3://, gs://, http(s)://), and a node's cache of fetched shards."""

import contextlib
import errno
import functools
import hashlib
import io
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, TypeVar
from urllib.parse import urlencode, urlsplit

import pyarrow as pa
import pyarrow.fs as pafs
from filelock import FileLock

from gandist.data.room import FULL, if_free, room_for
from gandist.errors import ConfigError, DataError, UnreachableError

REMOTE = ("s3", "gs", "gcs", "http", "https")
CHUNK_BYTES = 8 << 20
"""Reads of this size are 20 times as fast as an object store's unbuffered stream."""
WAITS_S = (0.5, 1.0, 2.0)
"""Pauses before each further attempt after a network error."""

T = TypeVar("T")


def is_remote(url: str) -> bool:
    """Whether `url` must be fetched, rather than opened as a file of this machine."""
    return urlsplit(url).scheme in REMOTE


def join(base: str, name: str) -> str:
    """`name` inside the folder or URL `base`; options after a `?` stay at the end."""
    if not is_remote(base):
        return os.path.join(base, name)  # noqa: PTH118 (a Path would swallow the "./" that users wrote)
    path, question, options = base.partition("?")
    return f"{path.rstrip('/')}/{name}{question}{options}"


def printable(name: str) -> str:
    """A file's name as text. What is no UTF-8 in it is none, and is spelled out: `caf\\xe9`."""
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace")


def filesystem(url: str) -> tuple[pafs.FileSystem, str]:
    """The file system that `url` lies in, and its path there.

    `s3://` takes its endpoint from `?endpoint_override=HOST:PORT&scheme=http` in the URL, or from the
    environment variable AWS_ENDPOINT_URL; credentials come as for every AWS tool.

    Raises:
        DataError: the URL is malformed, or a path is no UTF-8.
    """
    if not is_remote(url):
        if url != printable(url):
            raise DataError(f"{printable(url)}: the path is not UTF-8; rename what is not")
        return pafs.LocalFileSystem(), os.path.abspath(url)  # noqa: PTH100 (resolve() would follow links)
    parts = urlsplit(url)
    if parts.scheme in ("http", "https"):
        return pafs.PyFileSystem(pafs.FSSpecHandler(_http())), url
    options = parts.query
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if parts.scheme == "s3" and endpoint and "endpoint_override" not in options:
        where = urlsplit(endpoint)
        options = "&".join(
            filter(None, [options, urlencode({"endpoint_override": where.netloc, "scheme": where.scheme})])
        )
    try:
        bucket_fs, bucket = _bucket(f"{parts.scheme}://{parts.netloc}?{options}")
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{url}: not a usable storage URL: {error}") from error
    return bucket_fs, f"{bucket.rstrip('/')}{parts.path}".rstrip("/")


@functools.lru_cache(maxsize=64)
def _bucket(uri: str) -> tuple[pafs.FileSystem, str]:
    # One client a bucket: connections are kept, and a bucket's region is looked up once.
    bucket_fs, path = pafs.FileSystem.from_uri(uri)
    return bucket_fs, path


@functools.cache
def _http() -> Any:
    import aiohttp
    import fsspec

    # aiohttp's default would end every download after five minutes.
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=60)
    return fsspec.filesystem("http", client_kwargs={"timeout": timeout, "trust_env": True})


def read_bytes(url: str) -> bytes:
    """The whole content of a local or remote file.

    Raises:
        FileNotFoundError: there is none.
        DataError: it cannot be read, after a few attempts.
    """
    sink = io.BytesIO()
    _copy(url, sink)
    return sink.getvalue()


def _copy(url: str, sink: BinaryIO) -> None:
    def attempt() -> None:
        sink.seek(0)
        sink.truncate()
        if urlsplit(url).scheme in ("http", "https"):
            # Not through `filesystem`, where fsspec takes every failure for a missing file.
            _http().get_file(url, sink)
            return
        source_fs, path = filesystem(url)
        with source_fs.open_input_stream(path) as stream:
            shutil.copyfileobj(stream, sink, CHUNK_BYTES)

    retrying(url, attempt)


def retrying(url: str, attempt: Callable[[], T]) -> T:
    """`attempt()`, again after a while where the network failed.

    Raises:
        FileNotFoundError: there is nothing at `url`.
        UnreachableError: naming `url`, when it cannot be had.
        OSError: this machine has no room for it.
    """
    for wait_s in (*WAITS_S, None):
        try:
            return attempt()
        except FileNotFoundError:
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno in FULL:  # not the network's: what is fetched has no room
                raise
            if wait_s is None or not _passing(error):
                raise UnreachableError(f"{url}: cannot be read: {error}") from error
            time.sleep(wait_s)
    raise AssertionError("unreachable")


def _passing(error: Exception) -> bool:
    status = getattr(error, "status", None)  # of an HTTP answer
    if status is not None:
        return status >= 500 or status in (408, 429)
    if isinstance(error, OSError):
        hopeless = (errno.EACCES, errno.EROFS, errno.EISDIR)
        return error.errno not in hopeless and "ACCESS_DENIED" not in str(error)
    return type(error).__module__.startswith("aiohttp")  # a connection that broke off


def local_path(path: str, key: str) -> Path:
    """A path of this machine as a user writes it, who may begin it with `~`.

    Raises:
        ConfigError: naming `key`: there is no such home.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"{key}: {path}: there is no home folder that ~ stands for; write the whole path") from error


def default_cache_dir() -> Path:
    """`$XDG_CACHE_HOME/gandist`, or `~/.cache/gandist`. A container's user may have no home, or one that is not theirs:
    then `gandist-UID` in the folder for temporary files.

    Raises:
        OSError: there is no folder for temporary files.
    """
    if chosen := os.environ.get("XDG_CACHE_HOME"):
        return Path(chosen) / "gandist"
    with contextlib.suppress(RuntimeError):  # no HOME, and no passwd entry
        cache = Path.home() / ".cache"
        # What os.path says of a folder that may not be looked into; Path's own raises.
        there = next(path for path in (cache, *cache.parents) if os.path.exists(path))  # noqa: PTH110
        if there == cache or os.access(there, os.W_OK):
            return cache / "gandist"
    return Path(tempfile.gettempdir()) / f"gandist-{os.getuid()}"


class ShardCache:
    """Fetched shards on this node's disk, shared by its processes: by sha256, at most `max_bytes`."""

    def __init__(self, folder: Path, max_bytes: int):
        self.folder = folder
        self.max_bytes = max_bytes

    def fetch(self, url: str, sha256: str | None, bytes: int | None) -> Path:
        """A local file with the content of `url`; a local one is returned as it is.

        Open the file at once: one that hasn't been asked for lately may be evicted at any time (who has it
        open keeps it). Processes that ask for the same shard at the same time fetch it once.

        Args:
            sha256: what the content must have; None where it isn't known yet, which always fetches.
            bytes: its length, where known.

        Raises:
            DataError: naming the URL: missing, unreachable, larger than the cache, or of another sha256.
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
            # A fixed number of lock files, for they cannot be removed safely.
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
            with contextlib.suppress(PermissionError):  # somebody else's, which may be read
                os.utime(path)  # most recently used
            if bytes is None or path.stat().st_size == bytes:
                return path
        return None

    def _download(self, url: str, part: Path, sha256: str | None, bytes: int | None) -> Path:
        self._make_room(bytes or 0, keep=part)
        with room_for(f"the shard {url}", bytes, self.folder), part.open("w+b") as file:
            try:
                _copy(url, file)
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
        """Delete what killed processes left, then the least recently used shards until `needed` bytes more fit."""
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
