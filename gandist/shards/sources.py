"""What `gandist.pack` takes in: a folder or zip of images, WebDataset tars, a Parquet table, IDX files.

Every reader gives a `Source`: a number of samples that can be read in any order, from any thread.
"""

import gzip
import math
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from gandist.errors import DataError
from gandist.shards import splits
from gandist.shards.classes import by_folder, captions_beside, listed
from gandist.shards.index import index_shards, numbers
from gandist.shards.remote import ShardCache, is_remote
from gandist.shards.samples import Sample, Source, Unmatched
from gandist.shards.tables import parquet
from gandist.shards.tars import list_shards
from gandist.shards.walk import files_below

IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
IDX_IMAGES = ("-images-idx3-ubyte", "-images-idx3-ubyte.gz", "-images.idx3-ubyte", "-images.idx3-ubyte.gz")
LISTING = PurePosixPath("dataset.json")
"""Where it lies beside the images, it has their labels, and subfolders are no classes."""
LABELS = {
    "folders": "an image's class is the first folder that it lies in",
    "listing": "dataset.json lists the class numbers",
    "column": "a Parquet table has a column of labels",
    "none": "the images have no classes",
}
"""Where labels come from; by default from whichever is there."""


def open_source(src: str, scratch: Path, *, labels: str | None = None, split: str | None = None) -> Source:
    """The images at `src`, by what kind of file or folder it is.

    Args:
        scratch: an existing folder for temporary files, of the size of a Parquet source at most.
        labels: a key of `LABELS`; None takes those that are there.
        split: the split that is taken ("train", "val", ...), of a source that holds several; "all" takes every one.

    Raises:
        DataError: `src` is missing, of no known kind, or damaged as a whole; it holds several splits and none is
            named; or its labels cannot be used. (Single images are not looked at before they are read.)
    """
    if is_remote(src):
        raise DataError(f"{src}: images are packed from local files; fetch them first (--index-only reads URLs)")
    path = Path(src)
    if "{" in src or path.suffix == ".tar":
        return tars(src, labels, split)
    if path.suffix == ".zip":
        return zipped(path, labels, split)
    if path.suffix == ".parquet":
        return _tables(src, [path], scratch, labels, split)
    if path.name.endswith(IDX_IMAGES) and path.is_file():
        splits.files_of_split(src, [src], split)  # says so where it is another one
        return idx(path, labels)
    if not path.exists():
        raise DataError(f"{src}: no such file or folder")
    if not path.is_dir():
        raise DataError(f"{src}: not a folder, .zip, .tar, .parquet or *-images-idx3-ubyte[.gz] file")
    entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    if any(entry.suffix == ".tar" for entry in entries):
        return tars(src, labels, split)
    if tables := [entry for entry in entries if entry.suffix == ".parquet"]:
        return _tables(src, tables, scratch, labels, split)
    if pixels := [entry for entry in entries if entry.name.endswith(IDX_IMAGES)]:
        if split is not None:
            chosen = splits.files_of_split(src, list(map(str, pixels)), split)
            pixels = list(map(Path, chosen))
        if len(pixels) > 1:
            raise DataError(f"{src}: holds several sets of IDX files; name one: {', '.join(map(str, pixels))}")
        return idx(pixels[0], labels)
    if split is not None:
        for entry in entries:  # a folder of each split, with shards or tables in it
            if (
                entry.is_dir()
                and splits.of_folder(entry.name) == splits.same(split)
                and any(map(_is_set, entry.iterdir()))
            ):
                return open_source(str(entry), scratch, labels=labels)
    return folder(path, labels, split)


def _is_set(path: Path) -> bool:
    """Whether a file is part of a set that is no tree of images."""
    return path.suffix in (".tar", ".parquet") or path.name.endswith(IDX_IMAGES)


def _only(src: object, kind: str, labels: str | None, allowed: Sequence[str]) -> None:
    if labels is not None and labels not in allowed:
        raise DataError(f"{src}: --labels {labels} is not for {kind}; pass --labels {' or '.join(allowed)}, or nothing")


def folder(root: Path, labels: str | None = None, split: str | None = None) -> Source:
    """Images in a folder: the class is the first subfolder, or as `dataset.json` lists it; the caption lies beside the
    image as `.txt`."""
    names = [path.relative_to(root).as_posix() for path in files_below(root)]
    return _tree(str(root), names, lambda name: (root / name).read_bytes(), labels, split)


def zipped(path: Path, labels: str | None = None, split: str | None = None) -> Source:
    """A zip of what `folder` takes; one folder around everything is ignored."""
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: cannot be read as a zip: {error}") from error
    names = [info.filename for info in archive.infolist() if not info.filename.endswith(("/", "\\"))]
    return _tree(str(path), names, archive.read, labels, split, wrapped=True)


def _visible(name: PurePosixPath) -> bool:
    return not any(part.startswith((".", "__MACOSX")) for part in name.parts)


def _unwrapped(files: dict[PurePosixPath, str], split: str | None) -> dict[PurePosixPath, str]:
    """Without the folder around everything; with all such folders, down to the splits, where one is looked for."""
    while True:
        around = {name.parts[0] if len(name.parts) > 1 else "" for name in files}
        wrapper = around.pop() if len(around) == 1 else ""
        if not wrapper or (split is not None and splits.of_folder(wrapper)):
            return files
        files = {name.relative_to(wrapper): path for name, path in files.items() if name.is_relative_to(wrapper)}
        if split is None:
            return files


def _tree(
    root: str,
    paths: Iterable[str],
    read: Callable[[str], bytes],
    labels: str | None,
    split: str | None,
    wrapped: bool = False,
) -> Source:
    _only(root, "images in folders", labels, ("folders", "listing", "none"))
    unmatched = Unmatched()
    files: dict[PurePosixPath, str] = {}
    for path in paths:
        name = PurePosixPath(path.replace("\\", "/").lstrip("/"))  # as some tools of Windows write them
        if not _visible(name):
            continue
        if name in files:
            unmatched.note("names are there twice, of which the last was taken", [name])
        files[name] = path
    if wrapped or split is not None:
        files = _unwrapped(files, split)
    images = sorted((n for n in files if n.suffix.lower() in IMAGES), key=lambda n: n.parts)
    if not images:
        below = [name for name in files if _is_set(Path(name))]
        hint = f"; the folder {below[0].parent} in it holds *{below[0].suffix}: pack that" if below else ""
        raise DataError(f"{root}: holds no images ({' '.join(IMAGES)}){hint}")
    depth = splits.level(images)
    listings = [name for name in files if name.name == LISTING.name]
    if labels is None:
        labels = "listing" if LISTING in listings else None
    if split is None:
        if depth is not None and labels is None:
            found = _splits_at(images, depth)
            raise DataError(
                f"{root}: {', '.join(found)} are splits and no classes; take one (--split {found[0]}), or --split "
                f"{splits.ALL} for all; pass --labels folders if they are classes, --labels none for no classes"
            )
        depth = None
    beside = captions_beside(files, images, unmatched)
    if split is not None:
        everything, (images, depth) = images, _of_split(root, images, depth, split)
        others = sorted(set(everything) - set(images))
        unmatched.note(
            "images lie outside the splits",
            (name for name in others if len(name.parts) < depth + 2 or not splits.of_folder(name.parts[depth])),
        )

    def inside(name: PurePosixPath) -> tuple[str, ...]:
        """Its parts without the split."""
        if depth is None or len(name.parts) < depth + 2:
            return name.parts
        return name.parts[:depth] + name.parts[depth + 1 :]

    unmatched.note(f"{LISTING} in subfolders are not read", (name for name in listings if len(inside(name)) > 1))
    listings = [name for name in listings if len(inside(name)) == 1]
    if depth == 0 and listings and labels is None:
        labels = "listing"
    class_names: list[str] = []
    if labels == "none":
        numbers = [-1] * len(images)
    elif labels == "listing":
        if not listings:
            raise DataError(f"{root}: holds no {LISTING}; put it there, or leave out --labels listing")
        numbers = listed(root, {name: read(files[name]) for name in listings}, images, set(map(str, files)), unmatched)
    else:
        class_names, numbers = by_folder(root, [inside(name) for name in images], labels == "folders", unmatched)
    unmatched.note(
        "class numbers (.cls) beside images are not read; pack the tars that they come from",
        (name for name in files if name.suffix == ".cls"),
    )

    def sample(i: int) -> Sample:
        text = beside.get(images[i])
        caption = read(files[text]).decode().strip() if text is not None else None
        return Sample(read(files[images[i]]), numbers[i], caption)

    return Source(len(images), sample, lambda i: f"{root}: {images[i]}", tuple(class_names), unmatched)


def _splits_at(images: Iterable[PurePosixPath], depth: int) -> list[str]:
    parts = {name.parts[depth] for name in images if len(name.parts) > depth + 1}
    return sorted(filter(splits.of_folder, parts), key=lambda part: (splits.of_folder(part) != "train", part))


def _of_split(root: str, images: list[PurePosixPath], depth: int | None, split: str) -> tuple[list[PurePosixPath], int]:
    """The images of a split, and how deep its folder lies."""
    if depth is None:
        depth = 0 if any(name.parts[0] == split for name in images if len(name.parts) > 1) else None
    if depth is None:
        raise DataError(splits.missing(root, split, ()))
    found = [name for name in images if len(name.parts) > depth + 1]
    if split == splits.ALL:
        return [name for name in found if splits.of_folder(name.parts[depth])], depth
    taken = [
        name
        for name in found
        if name.parts[depth] == split or splits.of_folder(name.parts[depth]) == splits.same(split)
    ]
    if not taken:
        raise DataError(splits.missing(root, split, _splits_at(images, depth)))
    return taken, depth


def tars(src: str, labels: str | None = None, split: str | None = None) -> Source:
    """WebDataset shards on this machine, written by anyone."""
    _only(src, "tars, which hold labels as .cls or .json", labels, ("none",))
    nowhere = ShardCache(Path(), 0)  # local files pass through a cache untouched
    unmatched = Unmatched()
    urls = list_shards(src, split)
    index = index_shards(urls, nowhere, base=src, labelled=labels != "none", unmatched=unmatched)
    shard, offset, size, label = (numbers(index.samples[name]) for name in ("shard", "offset", "size", "label"))
    urls = [index.url(i) for i in range(index.shards.num_rows)]

    def read(i: int) -> Sample:
        with Path(urls[shard[i]]).open("rb") as file:
            image = os.pread(file.fileno(), int(size[i]), int(offset[i]))
        return Sample(image, int(label[i]), index.samples["caption"][i].as_py())

    return Source(index.n, read, lambda i: f"{urls[shard[i]]}: {index.samples['key'][i].as_py()}", unmatched=unmatched)


def _tables(src: str, paths: list[Path], scratch: Path, labels: str | None, split: str | None) -> Source:
    _only(src, "Parquet tables", labels, ("column", "none"))
    return parquet([Path(path) for path in splits.files_of_split(src, list(map(str, paths)), split)], scratch, labels)


def idx(path: Path, labels: str | None = None) -> Source:
    """IDX files, as MNIST's: images at `path`, labels beside them under the name that goes with it."""
    _only(path, "IDX files", labels, ("none",))
    images = _idx_array(path)
    if images.ndim not in (3, 4):
        raise DataError(f"{path}: holds {images.ndim}-dimensional data, where images have 3 dimensions (n, H, W)")
    stem = path.name.removesuffix(".gz").replace("images", "labels").replace("idx3", "idx1")
    found = [path.with_name(name) for name in (stem, f"{stem}.gz") if path.with_name(name).is_file()]
    numbers = _idx_array(found[0]) if found and labels != "none" else None
    if numbers is not None and numbers.shape != images.shape[:1]:
        raise DataError(f"{found[0]}: {len(numbers)} labels for the {len(images)} images of {path.name}")

    def read(i: int) -> Sample:
        return Sample(images[i], -1 if numbers is None else int(numbers[i]), None)

    return Source(len(images), read, lambda i: f"{path}: image {i}")


def _idx_array(path: Path) -> Any:
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        zeros, kind, rank = struct.unpack(">HBB", data[:4])
        shape = struct.unpack(f">{rank}I", data[4 : 4 + 4 * rank])
    except (OSError, EOFError, zlib.error, struct.error) as error:
        raise DataError(f"{path}: cannot be read as an IDX file: {error}") from error
    if zeros != 0 or kind != 8:
        raise DataError(f"{path}: not an IDX file of unsigned bytes")
    if len(data) != 4 + 4 * rank + math.prod(shape):
        raise DataError(f"{path}: {len(data)} bytes, where {shape} values are announced; fetch it again")
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape)
