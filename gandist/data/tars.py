"""WebDataset tars of any origin: the places of their samples, labels and captions.

It never unpickles, and refuses a truncated or damaged tar instead of reading up to the damage.
"""

import hashlib
import json
import mmap
import re
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gandist.data.index import class_counts
from gandist.data.samples import MAX_CLASSES, Broken, LeftOut, caption_of
from gandist.errors import DataError
from gandist.media.formats import FORMATS, media_of, noun_of, one_medium
from gandist.storage.remote import printable

FILE = ("ext", "offset", "size", "crc")
COLUMNS = ("key", *FILE, "label", "caption", *(f"input_{name}" for name in FILE))
PAIR = ("input", "target")
"""First parts of the extensions of a pair's files: a.input.png, a.target.png."""
PICKLES = {"pyd", "pickle", "pkl", "pth", "pt", "dill", "joblib"}
APART = (
    "its members are not side by side in the tar, and WebDataset takes consecutive ones for a sample; write the tar "
    "again in the order of names: tar --sort=name -cf NEW.tar FOLDER"
)
META = re.compile(r"__[^/]*__(/|$)")  # WebDataset's own metadata, in no sample


def scan_tar(
    path: Path,
    url: str,
    *,
    labelled: bool = True,
    left_out: LeftOut | None = None,
    extensions: Sequence[str] | None = None,
) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """The index row of the shard at `path`, called `url`, and its columns for the samples (all but `shard`).
    The columns of a pair's input are None where a sample is no pair.

    Args:
        labelled: whether to read labels.
        extensions: extensions of sample files; None: those of images, sounds or clips, whichever the shard holds.
        left_out: collects broken samples, which are then skipped, and everything else that is not used.

    Raises:
        DataError: the shard is truncated, pickled or empty, and is named; or, without `left_out`, a sample is broken
            (it has no sample file or an invalid label), and is named.
    """
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    notes = LeftOut() if left_out is None else left_out
    if path.stat().st_size == 0:
        raise DataError(f"{url}: an empty file, not a tar; fetch or write the shard again")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        samples = list(_samples(file, data, url, notes))
        extensions = extensions or _of_one_medium(samples, url)
        apart = _apart(samples, extensions)
        for key, members, twice in samples:
            where = f"{url}: sample {key!r}"
            try:
                if twice:
                    raise ValueError(f"{key}.{twice} is there twice in one sample")
                if key in apart:
                    if apart[key] is not members:
                        continue  # the first part reports it
                    raise ValueError(APART)
                row = _row(key, members, data, where, notes, labelled, extensions)
            except ValueError as error:
                if left_out is None:
                    raise DataError(f"{where}: {error}") from error
                left_out.broken.append(Broken(where, str(error)))
                continue
            for name, value in row.items():
                columns[name].append(value)
        sha256 = hashlib.sha256(data).hexdigest()
        counts = class_counts(np.array(columns["label"], np.int64))
        shard = {"url": url, "bytes": len(data), "sha256": sha256, "n": len(columns["key"]), "class_counts": counts}
    if not samples:
        raise DataError(f"{url}: holds no samples")
    return shard, columns


def _of_one_medium(samples: Sequence["_Grouped"], url: str) -> Sequence[str]:
    """The extensions of the medium whose files the samples hold: images, if none."""
    endings = {ext.rpartition(".")[2] for each in samples for ext in each.members}
    held = {medium: next(f".{e}" for e in FORMATS[medium].in_shards if e in endings) for medium in media_of(endings)}
    return FORMATS[one_medium(url, held) or "image"].in_shards


Members = dict[str, tuple[int, int]]
"""Extension -> (offset, size) of one sample's members."""


class _Grouped(NamedTuple):
    """Consecutive members with one key; `twice` is a repeated extension."""

    key: str
    members: Members
    twice: str


def _samples(file: Any, data: mmap.mmap, url: str, left_out: LeftOut) -> Iterator[_Grouped]:
    key, members, twice = "", Members(), ""
    torn = DataError(f"{url}: a truncated or damaged tar; fetch or write the shard again")
    try:
        tar = tarfile.open(fileobj=file, mode="r:")  # noqa: SIM115 (closed by `with` below)
        with tar:
            for member in tar:
                folder, slash, name = member.name.rpartition("/")
                stem, dot, ext = name.partition(".")
                if not member.isreg() or not stem or not dot or META.match(member.name):
                    if not member.isdir() and not META.match(member.name):
                        left_out.skip([printable(member.name)])
                    continue
                if PICKLES & set(ext.lower().split(".")):
                    raise DataError(f"{url}: holds pickled data ({member.name}), which is never loaded; remove it")
                if folder + slash + stem != key:
                    if members:
                        yield _Grouped(key, members, twice)
                    key, members, twice = folder + slash + stem, {}, ""
                twice = ext if ext.lower() in members else twice
                members[ext.lower()] = (member.offset_data, member.size)
            # tarfile takes a damaged header for the end, and ignores missing end-of-archive zeros.
            if data[tar.offset : tar.offset + tarfile.BLOCKSIZE] != bytes(tarfile.BLOCKSIZE):
                raise torn
    except (tarfile.TarError, EOFError, OSError) as error:
        if data[:2] == b"\x1f\x8b":
            raise DataError(f"{url}: a compressed tar cannot be read by offset; decompress it (gunzip)") from error
        raise torn from error
    if members:
        yield _Grouped(key, members, twice)


def _apart(samples: Sequence[_Grouped], extensions: Sequence[str]) -> dict[str, Members]:
    """The keys with separated members of which a part has no sample file, or half a pair, with the first part of each
    key."""
    times = Counter(each.key for each in samples)
    apart: dict[str, Members] = {}
    again = [each for each in samples if times[each.key] > 1]
    torn = {each.key for each in again if not _holding(each.members, extensions)}
    halves = [{each.key for each in again if _halves(each.members, extensions)[which]} for which in (0, 1)]
    whole = {each.key for each in again if all(_halves(each.members, extensions))}
    torn |= (halves[0] & halves[1]) - whole
    for each in again:
        if each.key in torn:
            apart.setdefault(each.key, each.members)
    return apart


def _row(
    key: str,
    members: Members,
    data: mmap.mmap,
    where: str,
    left_out: LeftOut,
    labelled: bool,
    extensions: Sequence[str],
) -> dict[str, Any]:
    """The index's columns for a sample.

    Raises:
        ValueError: the sample cannot be used.
    """
    pair = _pair_of(members, extensions)
    given, image = pair or (None, _sample_of(members, extensions))
    text = None if image == "txt" else _member(members, image, "txt", where, left_out)
    label, named = _label(members, image, data, where, left_out) if labelled else (-1, None)
    left_out.skip(ext if "." in ext else f"a.{ext}" for ext in members if ext not in (image, given, text, named))
    return {
        "key": printable(key),
        **_file(members, image, data),
        "label": label,
        "caption": None if text is None else caption_of(_content(members, data, text), f"{where}: .{text}", left_out),
        **{f"input_{name}": value for name, value in _file(members, given, data).items()},
    }


def _file(members: Members, ext: str | None, data: mmap.mmap) -> dict[str, Any]:
    """The columns of one file of a sample; None in each if there is no such file."""
    if ext is None:
        return dict.fromkeys(FILE)
    offset, size = members[ext]
    crc = zlib.crc32(memoryview(data)[offset : offset + size])
    return dict(zip(FILE, (ext.rpartition(".")[2], offset, size, crc), strict=True))


def _content(members: Members, data: mmap.mmap, ext: str) -> bytes:
    offset, size = members[ext]
    return data[offset : offset + size]


def _holding(members: Members, extensions: Sequence[str]) -> list[str]:
    """The members that hold a sample. A picture beside a film is none of them."""
    found = [ext for ext in members if ext in extensions] or [
        ext for ext in members if ext.rpartition(".")[2] in extensions
    ]
    if media_of(extensions) == ["image", "video"]:
        found = [ext for ext in found if "video" in media_of([ext.rpartition(".")[2]])] or found
    return found


def _halves(members: Members, extensions: Sequence[str]) -> tuple[list[str], list[str]]:
    """The members of a pair: inputs ("input.png") and targets ("target.png"). None, if there is a plain sample too."""
    if any(ext in extensions for ext in members):
        return [], []
    named = ([ext for ext in members if ext in [f"{half}.{each}" for each in extensions]] for half in PAIR)
    inputs, targets = named
    return inputs, targets


def _pair_of(members: Members, extensions: Sequence[str]) -> tuple[str, str] | None:
    """The members that are the input and the target; None if the sample is no pair."""
    inputs, targets = _halves(members, extensions)
    if not (inputs and targets):
        return None
    if len(inputs) + len(targets) > 2:
        raise ValueError(
            f"holds several inputs or targets ({', '.join(inputs + targets)}), where one of each is expected; remove "
            "the others"
        )
    return inputs[0], targets[0]


def _sample_of(members: Members, extensions: Sequence[str]) -> str:
    what = noun_of(extensions)
    found = _holding(members, extensions)
    if len(found) == 1:
        return found[0]
    if found:
        raise ValueError(
            f"holds {len(found)} {what}s ({', '.join(found)}), where one is expected; names that are the same up to "
            "their first dot are one sample: rename or remove the others"
        )
    raise ValueError(f"holds no {what} ({', '.join(extensions)}), only {', '.join(members)}; remove it from the shard")


def _member(members: Members, image: str, kind: str, where: str, left_out: LeftOut) -> str | None:
    """The extension of the member that describes the sample: "cls" itself; for the image "5x.png", "5x.cls"; or the
    only one with this ending."""
    found = [ext for ext in members if ext.rpartition(".")[2] == kind]
    beside = f"{image.rpartition('.')[0]}.{kind}"
    for ext in (kind, beside):
        if ext in found:
            return ext
    if len(found) > 1:
        left_out.note(f"samples have several .{kind}, of which none was taken", [f"{where}: {', '.join(found)}"])
    return found[0] if len(found) == 1 else None


def _label(members: Members, image: str, data: mmap.mmap, where: str, left_out: LeftOut) -> tuple[int, str | None]:
    """The label (-1: none), and the extension of its member."""
    text, ext = None, _member(members, image, "cls", where, left_out)
    if ext is not None:
        text = _text(members, data, ext, where, left_out)
    if text is None and (ext := _member(members, image, "json", where, left_out)):
        try:
            content = json.loads(_text(members, data, ext, where, left_out) or "null")
        except json.JSONDecodeError as error:
            if "." in ext:
                left_out.note("members are no JSON", [f"{where}: {ext}"])
                return -1, None
            raise ValueError(f"its .{ext} cannot be parsed: {error}") from error
        label = content.get("label") if isinstance(content, dict) else None
        text = None if label is None else str(label)
    if text is None:
        return -1, None
    try:
        label = int(text)
    except ValueError:
        label = MAX_CLASSES
    if not -1 <= label < MAX_CLASSES:
        raise ValueError(
            f"its label is {text.strip()!r}, which is not a class number; write one of 0 to {MAX_CLASSES - 1}, or pass "
            "--labels none"
        )
    return label, ext


def _text(members: Members, data: mmap.mmap, ext: str, where: str, left_out: LeftOut) -> str | None:
    try:
        return _content(members, data, ext).decode()
    except UnicodeDecodeError as error:
        if "." in ext:  # its meaning is a guess
            left_out.note("members are not UTF-8 text", [f"{where}: {ext}"])
            return None
        raise ValueError(f"its .{ext} is not UTF-8 text") from error
