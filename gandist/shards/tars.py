"""WebDataset tars, written by anyone: where their images lie, with labels and captions.

Nothing in a tar is ever unpickled, and a torn or damaged one is refused rather than read up to the damage.
"""

import hashlib
import json
import mmap
import re
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.fs as pafs

from gandist.errors import DataError
from gandist.shards.remote import filesystem, join, retrying

COLUMNS = ("key", "ext", "offset", "size", "label", "caption", "crc")
IMAGES = ("png", "jpg", "jpeg", "webp")
PICKLES = {"pyd", "pickle", "pkl", "pth", "pt", "dill", "joblib"}
META = re.compile(r"__[^/]*__(/|$)")  # WebDataset's own remarks, in no sample
MAX_CLASSES = 1 << 20


def list_shards(src: str) -> list[str]:
    """Paths or URLs of the shards of `src`: a folder or bucket prefix of `*.tar`, one tar, or brace notation.

    Raises:
        DataError: there are none, or they cannot be listed.
    """
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
    src_fs, folder = filesystem(src)
    try:
        found = retrying(src, lambda: src_fs.get_file_info(pafs.FileSelector(folder)))
    except FileNotFoundError as error:
        raise DataError(f"{src}: no such folder") from error
    names = sorted(info.base_name for info in found if info.is_file and info.extension == "tar")
    # Names that start with a dot are work in progress, or a file manager's litter.
    names = [name for name in names if not name.startswith(".")]
    if not names:
        raise DataError(f"{src}: holds no shards (*.tar)")
    return [join(src, name) for name in names]


def scan_tar(path: Path, url: str) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """The index's row of the shard at `path`, called `url`, and its columns for the samples (all but `shard`).

    Raises:
        DataError: naming the shard and the sample: torn, without an image, pickled, or oddly labelled.
    """
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    if path.stat().st_size == 0:
        raise DataError(f"{url}: an empty file, not a tar; fetch or write the shard again")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for key, members in _samples(file, data, url):
            image = _image(members, f"{url}: sample {key!r}")
            offset, size = members[image]
            row = {
                "key": key,
                "ext": image.rpartition(".")[2],
                "offset": offset,
                "size": size,
                "label": _label(members, data, f"{url}: sample {key!r}"),
                "caption": _text(members, data, "txt", f"{url}: sample {key!r}"),
                "crc": zlib.crc32(memoryview(data)[offset : offset + size]),
            }
            for name, value in row.items():
                columns[name].append(value)
        sha256 = hashlib.sha256(data).hexdigest()
        labels = np.array(columns["label"], np.int64)
        counts: list[int] | None = None
        if labels.max(initial=-1) < most_classes(len(labels)):
            counts = np.bincount(labels[labels >= 0]).tolist()
        shard = {"url": url, "bytes": len(data), "sha256": sha256, "n": len(labels), "class_counts": counts}
    if not columns["key"]:
        raise DataError(f"{url}: holds no samples")
    return shard, columns


def most_classes(n: int) -> int:
    """Up to how many classes a shard of n samples notes how many it has of each: labels may be any numbers, and the
    list is not to be much longer than the samples."""
    return max(1024, 4 * n)


Members = dict[str, tuple[int, int]]
"""Extension -> (offset, size) of one sample's members."""


def _samples(file: Any, data: mmap.mmap, url: str) -> Iterator[tuple[str, Members]]:
    key, members = "", Members()
    torn = DataError(f"{url}: a truncated or damaged tar; fetch or write the shard again")
    try:
        tar = tarfile.open(fileobj=file, mode="r:")  # noqa: SIM115 (closed by `with` below)
        with tar:
            for member in tar:
                folder, slash, name = member.name.rpartition("/")
                stem, dot, ext = name.partition(".")
                if not member.isreg() or not stem or not dot or META.match(member.name):
                    continue
                if PICKLES & set(ext.lower().split(".")):
                    raise DataError(f"{url}: holds pickled data ({member.name}), which is never loaded; remove it")
                if folder + slash + stem != key:
                    if members:
                        yield key, members
                    key, members = folder + slash + stem, {}
                if ext.lower() in members:
                    raise DataError(f"{url}: {member.name} is there twice in one sample")
                members[ext.lower()] = (member.offset_data, member.size)
            # tarfile takes a damaged header for the end, and does without the zeros that mark it.
            if data[tar.offset : tar.offset + tarfile.BLOCKSIZE] != bytes(tarfile.BLOCKSIZE):
                raise torn
    except (tarfile.TarError, EOFError, OSError) as error:
        if data[:2] == b"\x1f\x8b":
            raise DataError(f"{url}: a compressed tar cannot be read by offset; decompress it (gunzip)") from error
        raise torn from error
    if members:
        yield key, members


def _image(members: Members, where: str) -> str:
    found = [ext for ext in members if ext in IMAGES] or [ext for ext in members if ext.rpartition(".")[2] in IMAGES]
    if len(found) == 1:
        return found[0]
    if found:
        raise DataError(f"{where}: holds {len(found)} images ({', '.join(found)}), where one is expected")
    raise DataError(
        f"{where}: holds no image ({', '.join(IMAGES)}), only {', '.join(members)}; remove it from the shard"
    )


def _text(members: Members, data: mmap.mmap, ext: str, where: str) -> str | None:
    if ext not in members:
        return None
    offset, size = members[ext]
    try:
        return data[offset : offset + size].decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: its .{ext} is not UTF-8 text") from error


def _label(members: Members, data: mmap.mmap, where: str) -> int:
    text = _text(members, data, "cls", where)
    if text is None and "json" in members:
        try:
            content = json.loads(_text(members, data, "json", where) or "null")
        except json.JSONDecodeError as error:
            raise DataError(f"{where}: its .json cannot be parsed: {error}") from error
        label = content.get("label") if isinstance(content, dict) else None
        text = None if label is None else str(label)
    if text is None:
        return -1
    try:
        label = int(text)
    except ValueError:
        label = MAX_CLASSES
    if not -1 <= label < MAX_CLASSES:
        raise DataError(f"{where}: its label is {text.strip()!r}, which is not a class number")
    return label
