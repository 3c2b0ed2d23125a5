"""What `gandist.pack` takes in: a folder or zip of images, WebDataset tars, a Parquet table, IDX files.

Every reader gives a `Source`: a number of samples that can be read in any order, from any thread.
"""

import gzip
import json
import math
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from gandist.errors import DataError
from gandist.shards import splits
from gandist.shards.index import index_shards, numbers
from gandist.shards.remote import ShardCache, is_remote
from gandist.shards.samples import Sample, Source, Unmatched, class_number
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
            if splits.of_folder(entry.name) == splits.same(split) and any(map(_is_set, entry.iterdir())):
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
        around = {name.parts[0] if len(name.parts) > 1 else "" for name in files if _visible(name)}
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
        if name in files:
            unmatched.note("names are there twice, of which the last was taken", [name])
        files[name] = path
    if wrapped or split is not None:
        files = _unwrapped(files, split)
    images = sorted((n for n in files if n.suffix.lower() in IMAGES and _visible(n)), key=lambda n: n.parts)
    if not images:
        below = [name for name in files if _visible(name) and _is_set(Path(name))]
        hint = f"; {below[0].parent} in it holds *{below[0].suffix}: pack {root}/{below[0].parent}" if below else ""
        raise DataError(f"{root}: holds no images ({' '.join(IMAGES)}){hint}")
    depth = splits.level(images)
    listings = [name for name in files if name.name == LISTING.name and _visible(name)]
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
    else:
        images, depth = _of_split(root, images, depth, split)

    def inside(name: PurePosixPath) -> tuple[str, ...]:
        """Its parts without the split."""
        return name.parts if depth is None else name.parts[:depth] + name.parts[depth + 1 :]

    everywhere = set(map(str, files))
    listings = [name for name in listings if len(inside(name)) == 1 and (labels != "none")]
    if depth == 0 and listings and labels is None:
        labels = "listing"
    captions = _captions(files, images, unmatched)
    class_names: list[str] = []
    if labels == "none":
        numbers = [-1] * len(images)
    elif labels == "listing":
        if not listings:
            raise DataError(f"{root}: holds no {LISTING}; put it there, or leave out --labels listing")
        numbers = _listed(root, {name: read(files[name]) for name in listings}, images, everywhere, unmatched)
    else:
        class_names, numbers = _by_folder(root, [inside(name) for name in images], labels == "folders", unmatched)
    unmatched.note(
        "class numbers (.cls) beside images are not read; pack the tars that they come from",
        (name for name in files if name.suffix == ".cls" and _visible(name)),
    )

    def sample(i: int) -> Sample:
        beside = captions.get(images[i])
        caption = read(files[beside]).decode().strip() if beside is not None else None
        return Sample(read(files[images[i]]), numbers[i], caption)

    return Source(len(images), sample, lambda i: f"{root}: {images[i]}", tuple(class_names), unmatched)


def _splits_at(images: Iterable[PurePosixPath], depth: int) -> list[str]:
    parts = {name.parts[depth] for name in images if len(name.parts) > depth + 1}
    return sorted(filter(splits.of_folder, parts), key=lambda part: (splits.of_folder(part) != "train", part))


def _of_split(
    root: str, images: list[PurePosixPath], depth: int | None, split: str
) -> tuple[list[PurePosixPath], int | None]:
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


def _captions(
    files: Mapping[PurePosixPath, str], images: Sequence[PurePosixPath], unmatched: Unmatched
) -> dict[PurePosixPath, PurePosixPath]:
    """The `.txt` of each image that has one: a.b.txt beside a.b.png, else a.b.png.txt, else a.txt."""
    texts = {name.with_suffix(".txt"): name for name in files if name.suffix.lower() == ".txt" and _visible(name)}
    exact = {name: texts[name.with_suffix(".txt")] for name in images if name.with_suffix(".txt") in texts}
    taken, found = set(exact.values()), dict(exact)
    for name in images:
        stem = name.name.lstrip(".").partition(".")[0]
        for other in (name.with_name(f"{name.name}.txt"), name.with_name(f"{stem}.txt")):
            if name not in found and other in texts and texts[other] not in set(exact.values()):
                found[name] = texts[other]
                taken.add(texts[other])
    unmatched.note("captions (.txt) lie beside no image", (name for name in texts.values() if name not in taken))
    return found


def _by_folder(
    root: str, inside: Sequence[tuple[str, ...]], named: bool, unmatched: Unmatched
) -> tuple[list[str], list[int]]:
    """The names of the classes, and each image's label, by the first folder."""
    names = sorted({parts[0] for parts in inside if len(parts) > 1})
    stray = ["/".join(parts) for parts in inside if len(parts) == 1]
    if stray and names and not named:
        raise DataError(
            f"{root}: {stray[0]} lies outside the class folders ({', '.join(names[:3])}, ...); put every image into "
            "one, or none; or pass --labels none for no classes, --labels folders to leave such images without one"
        )
    if named and not names:
        raise DataError(f"{root}: holds no class folders; make them, or leave out --labels folders")
    if names:
        unmatched.note("images lie outside the class folders and have no label", stray)
    below = sorted({parts[1] if len(parts) > 2 else "" for parts in inside})
    if len(names) == 1 and len(below) > 1 and "" not in below and not named:
        raise DataError(
            f"{root}: everything lies in the folder {names[0]!r}, which holds {', '.join(below[:3])}"
            f"{', ...' if len(below) > 3 else ''}; if those are the classes, pack {root}/{names[0]} (of a zip: unpack "
            "it first); pass --labels folders for one class, --labels none for none"
        )
    number = {name: i for i, name in enumerate(names)}
    return names, [number[parts[0]] if len(parts) > 1 else -1 for parts in inside]


def _listed(
    root: str,
    listings: Mapping[PurePosixPath, bytes],
    images: Sequence[PurePosixPath],
    everywhere: set[str],
    unmatched: Unmatched,
) -> list[int]:
    """Labels of the images, from listings as StyleGAN's: `{"labels": [["00000/img00000000.png", 6], ...]}` or null."""
    label: dict[str, int] = {}
    rows = 0
    for listing, content in listings.items():
        try:
            entries = json.loads(content)["labels"]
            pairs = [
                (str(name), number)
                for name, number in (entries.items() if isinstance(entries, dict) else entries or ())
            ]
            if odd := next((pair for pair in pairs if not isinstance(pair[1], int)), None):
                raise TypeError(f"{odd[0]} has {odd[1]!r}")
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DataError(
                f'{root}: {listing} does not give class numbers as {{"labels": [["a/b.png", 0], ...]}}: {error}; mend '
                "it, or pass --labels folders to have the first subfolders as classes, --labels none for no labels"
            ) from error
        for row, (written, number) in enumerate(pairs):
            name = str(listing.parent / written.replace("\\", "/").lstrip("/"))
            number = class_number(number, f"{root}: {listing}, row {row} ({written})")
            if label.setdefault(name, number) != number:
                raise DataError(
                    f"{root}: {listing}, row {row}: {written} is class {number}, and {label[name]} further up; "
                    "keep one of them"
                )
        rows += len(pairs)
    numbers = [label.get(str(name), -1) for name in images]
    lost = [name for name in label if name not in everywhere]
    if rows and len(lost) == len(label):
        raise DataError(
            f"{root}: none of the {len(label)} names in {', '.join(map(str, listings))} is that of an image: it lists "
            f"{lost[0]}, where an image is {images[0]}; mend it, or pass --labels folders or --labels none"
        )
    unmatched.note(f"labels in {LISTING} match no image", lost)
    if rows:
        unmatched.note(
            f"images have no label in {LISTING}",
            (name for name, number in zip(images, numbers, strict=True) if number < 0),
        )
    return numbers


def tars(src: str, labels: str | None = None, split: str | None = None) -> Source:
    """WebDataset shards on this machine, written by anyone."""
    _only(src, "tars, which hold labels as .cls or .json", labels, ("none",))
    nowhere = ShardCache(Path(), 0)  # local files pass through a cache untouched
    unmatched = Unmatched()
    urls = list_shards(src, split)
    index = index_shards(urls, nowhere, base=src, labels=labels != "none", unmatched=unmatched)
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
