"""Local and remote files (s3://, gs://, http(s)://)."""

import errno
import functools
import io
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, TypeVar
from urllib.parse import urlencode, urlsplit

import pyarrow as pa
import pyarrow.fs as pafs

from gandist.errors import ConfigError, DataError, UnreachableError

REMOTE = ("s3", "gs", "gcs", "http", "https")
CHUNK_BYTES = 8 << 20
"""Reads of this size are 20 times as fast as an object store's unbuffered stream."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a file system without room: a full disk, a used-up quota, or a file that is too large."""
WAITS_S = (0.5, 1.0, 2.0)
"""Pauses before each further attempt after a network error."""

T = TypeVar("T")


def is_remote(url: str) -> bool:
    """Whether `url` must be fetched, instead of opened as a local file."""
    return urlsplit(url).scheme in REMOTE


def join(base: str, name: str) -> str:
    """`name` inside the folder or URL `base`; options after a `?` stay at the end."""
    if not is_remote(base):
        return os.path.join(base, name)  # noqa: PTH118 (a Path would swallow the "./" that users wrote)
    path, question, options = base.partition("?")
    return f"{path.rstrip('/')}/{name}{question}{options}"


def printable(name: str) -> str:
    """A file's name as text. Bytes that are not UTF-8 are escaped: `caf\\xe9`."""
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace")


def filesystem(url: str) -> tuple[pafs.FileSystem, str]:
    """The file system of `url`, and the path in it.

    `s3://` takes its endpoint from `?endpoint_override=HOST:PORT&scheme=http` in the URL, or from the environment
    variable AWS_ENDPOINT_URL; credentials come from the same sources as for every AWS tool.

    Raises:
        DataError: the URL is malformed, or a path is not UTF-8.
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
    # One client per bucket: it keeps its connections, and looks up the bucket's region once.
    bucket_fs, path = pafs.FileSystem.from_uri(uri)
    return bucket_fs, path


@functools.cache
def _http() -> Any:
    import aiohttp
    import fsspec

    # aiohttp's default would abort every download after five minutes.
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=60)
    return fsspec.filesystem("http", client_kwargs={"timeout": timeout, "trust_env": True})


def read_bytes(url: str) -> bytes:
    """The whole content of a local or remote file.

    Raises:
        FileNotFoundError: the file does not exist.
        DataError: the file cannot be read, after a few attempts.
    """
    sink = io.BytesIO()
    copy(url, sink)
    return sink.getvalue()


def copy(url: str, sink: BinaryIO) -> None:
    """Write the whole content of a local or remote file to `sink`, an open file that holds nothing else.

    Raises:
        FileNotFoundError: the file does not exist.
        UnreachableError: naming `url`, if it cannot be fetched.
        OSError: the local disk has no room for it.
    """

    def attempt() -> None:
        sink.seek(0)
        sink.truncate()
        if urlsplit(url).scheme in ("http", "https"):
            # Not through `filesystem`: fsspec reports every failure as a missing file.
            _http().get_file(url, sink)
            return
        source_fs, path = filesystem(url)
        with source_fs.open_input_stream(path) as stream:
            shutil.copyfileobj(stream, sink, CHUNK_BYTES)

    retrying(url, attempt)


def retrying(url: str, attempt: Callable[[], T]) -> T:
    """The result of `attempt()`, repeated after a pause if the network fails.

    Raises:
        FileNotFoundError: nothing exists at `url`.
        UnreachableError: naming `url`, if it cannot be fetched.
        OSError: the local disk has no room for it.
    """
    for wait_s in (*WAITS_S, None):
        try:
            return attempt()
        except FileNotFoundError:
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno in FULL:  # the local disk is full, not the network's fault
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
    return type(error).__module__.startswith("aiohttp")  # a broken connection


def local_path(path: str, key: str) -> Path:
    """A local path as a user writes it; a leading `~` is expanded.

    Raises:
        ConfigError: naming `key`, if that home does not exist.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"{key}: {path}: there is no home folder that ~ stands for; write the whole path") from error
