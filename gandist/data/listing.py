"""Which shards a source names: a folder, a bucket's prefix, one tar, or brace notation."""

import os

import pyarrow.fs as pafs

from gandist.data.splits import files_of_split
from gandist.errors import DataError
from gandist.storage.remote import filesystem, is_remote, join, retrying


def list_shards(src: str, split: str | None = None) -> list[str]:
    """Paths or URLs of the shards of `src`: a folder or bucket prefix of `*.tar`, one tar, or brace notation.

    Args:
        split: take the shards with this split in their names (train-000000.tar); "all" takes every split.

    Raises:
        DataError: there are no shards, they cannot be listed, or they belong to several splits and `split` is None.
    """
    return files_of_split(src, _shards(src), split)


def _shards(src: str) -> list[str]:
    if "{" in src:
        from braceexpand import UnbalancedBracesError, braceexpand  # type: ignore[attr-defined]

        try:
            return list(braceexpand(src))
        except UnbalancedBracesError as error:
            raise DataError(f"{src}: the braces do not match; write name-{{000000..000009}}.tar") from error
    if src.partition("?")[0].endswith(".tar"):
        return [src]
    if src.startswith(("http://", "https://")):
        raise DataError(f"{src}: a web server does not list its files; write {src.rstrip('/')}/{{000000..000009}}.tar")
    try:
        found = retrying(src, lambda: _files(src))
    except FileNotFoundError as error:
        raise DataError(f"{src}: no such folder") from error
    names = sorted(name for name in found if name.endswith(".tar"))
    # Names that start with a dot are unfinished files, or a file manager's.
    names = [name for name in names if not name.startswith(".")]
    if not names:
        raise DataError(f"{src}: holds no shards (*.tar)")
    return [join(src, name) for name in names]


def _files(src: str) -> list[str]:
    """Names of the files in a folder or under a bucket's prefix."""
    if not is_remote(src):  # Arrow lists only UTF-8 names
        return [entry.name for entry in os.scandir(src) if entry.is_file()]
    src_fs, folder = filesystem(src)
    return [info.base_name for info in src_fs.get_file_info(pafs.FileSelector(folder)) if info.is_file]
