"""WebDataset tars, written by anyone: where their images lie, with labels and captions.

Nothing in a tar is ever unpickled, and a torn or damaged one is refused rather than read up to the damage.
"""

import hashlib
import json
import mmap
import os
import re
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.fs as pafs

from gandist.errors import DataError
from gandist.shards.remote import filesystem, is_remote, join, printable, retrying
from gandist.shards.samples import MAX_CLASSES, Unmatched
from gandist.shards.splits import files_of_split

COLUMNS = ("key", "ext", "offset", "size", "label", "caption", "crc")
IMAGES = ("png", "jpg", "jpeg", "webp")
PICKLES = {"pyd", "pickle", "pkl", "pth", "pt", "dill", "joblib"}
META = re.compile(r"__[^/]*__(/|$)")  # WebDataset's own remarks, in no sample


def list_shards(src: str, split: str | None = None) -> list[str]:
    """Paths or URLs of the shards of `src`: a folder or bucket prefix of `*.tar`, one tar, or brace notation.

    Args:
        split: take the shards whose names say so (train-000000.tar); "all" takes those of every split.

    Raises:
        DataError: there are none, they cannot be listed, or they belong to several splits and none is named.
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
    # Names that start with a dot are work in progress, or a file manager's litter.
    names = [name for name in names if not name.startswith(".")]
    if not names:
        raise DataError(f"{src}: holds no shards (*.tar)")
    return [join(src, name) for name in names]


def _files(src: str) -> list[str]:
    """Names of the files in a folder or under a bucket's prefix."""
    if not is_remote(src):  # Arrow gives no names that are not UTF-8
        return [entry.name for entry in os.scandir(src) if entry.is_file()]
    src_fs, folder = filesystem(src)
    return [info.base_name for info in src_fs.get_file_info(pafs.FileSelector(folder)) if info.is_file]


def scan_tar(
    path: Path, url: str, *, labelled: bool = True, unmatched: Unmatched | None = None
) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """The index's row of the shard at `path`, called `url`, and its columns for the samples (all but `shard`).

    Args:
        labelled: whether labels are read.
        unmatched: notes the labels and captions that could not be told from others of their sample.

    Raises:
        DataError: naming the shard and the sample: torn, without an image, pickled, or oddly labelled.
    """
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    unmatched = Unmatched() if unmatched is None else unmatched
    if path.stat().st_size == 0:
        raise DataError(f"{url}: an empty file, not a tar; fetch or write the shard again")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for key, members in _samples(file, data, url):
            where = f"{url}: sample {key!r}"
            image = _image(members, where)
            text = _member(members, image, "txt", where, unmatched)
            offset, size = members[image]
            row = {
                "key": printable(key),
                "ext": image.rpartition(".")[2],
                "offset": offset,
                "size": size,
                "label": _label(members, image, data, where, unmatched) if labelled else -1,
                "caption": _text(members, data, text, where, unmatched),
                "crc": zlib.crc32(memoryview(data)[offset : offset + size]),
            }
            for name, value in row.items():
                columns[name].append(value)
        sha256 = hashlib.sha256(data).hexdigest()
        numbers = np.array(columns["label"], np.int64)
        counts: list[int] | None = None
        if numbers.max(initial=-1) < most_classes(len(numbers)):
            counts = np.bincount(numbers[numbers >= 0]).tolist()
        shard = {"url": url, "bytes": len(data), "sha256": sha256, "n": len(numbers), "class_counts": counts}
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
        raise DataError(
            f"{where}: holds {len(found)} images ({', '.join(found)}), where one is expected; names that are the same "
            "up to their first dot are one sample: rename or remove the others"
        )
    raise DataError(
        f"{where}: holds no image ({', '.join(IMAGES)}), only {', '.join(members)}; remove it from the shard"
    )


def _member(members: Members, image: str, kind: str, where: str, unmatched: Unmatched) -> str | None:
    """The member that says something of the image, by its extension: "cls" itself, or as the image "5x.png" is named,
    "5x.cls", or the only one that ends so."""
    found = [ext for ext in members if ext.rpartition(".")[2] == kind]
    beside = f"{image.rpartition('.')[0]}.{kind}"
    for ext in (kind, beside):
        if ext in found:
            return ext
    if len(found) > 1:
        unmatched.note(f"samples have several .{kind}, of which none was taken", [f"{where}: {', '.join(found)}"])
    return found[0] if len(found) == 1 else None


def _text(members: Members, data: mmap.mmap, ext: str | None, where: str, unmatched: Unmatched) -> str | None:
    if ext is None:
        return None
    offset, size = members[ext]
    try:
        return data[offset : offset + size].decode()
    except UnicodeDecodeError as error:
        if "." in ext:  # a guess at what it holds
            unmatched.note("members are not UTF-8 text", [f"{where}: {ext}"])
            return None
        raise DataError(f"{where}: its .{ext} is not UTF-8 text") from error


def _label(members: Members, image: str, data: mmap.mmap, where: str, unmatched: Unmatched) -> int:
    text = _text(members, data, _member(members, image, "cls", where, unmatched), where, unmatched)
    if text is None and (ext := _member(members, image, "json", where, unmatched)):
        try:
            content = json.loads(_text(members, data, ext, where, unmatched) or "null")
        except json.JSONDecodeError as error:
            if "." in ext:
                unmatched.note("members are no JSON", [f"{where}: {ext}"])
                return -1
            raise DataError(f"{where}: its .{ext} cannot be parsed: {error}") from error
        label = content.get("label") if isinstance(content, dict) else None
        text = None if label is None else str(label)
    if text is None:
        return -1
    try:
        label = int(text)
    except ValueError:
        label = MAX_CLASSES
    if not -1 <= label < MAX_CLASSES:
        raise DataError(
            f"{where}: its label is {text.strip()!r}, which is not a class number; write one of 0 to "
            f"{MAX_CLASSES - 1}, or pass --labels none"
        )
    return label
