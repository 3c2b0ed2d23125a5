"""What `gandist.pack` takes in: a folder or zip of images, WebDataset tars, a Parquet table, IDX files.

Every reader gives a `Source`: a number of samples that can be read in any order, from any thread.
"""

import os
import re
import zipfile
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path, PurePosixPath

from gandist.data import splits
from gandist.data.cache import ShardCache
from gandist.data.classes import by_folder, captions_beside, listed
from gandist.data.idx import IDX_IMAGES, idx
from gandist.data.index import CAPTIONS_FILE, SAMPLES_FILE, SHARDS_FILE, index_shards, numbers
from gandist.data.samples import LeftOut, Sample, Source, caption_of, counts
from gandist.data.tables import holds_images, parquet
from gandist.data.tars import list_shards
from gandist.data.walk import files_below
from gandist.errors import DataError
from gandist.storage.remote import is_remote

IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
INDEX = (SHARDS_FILE, SAMPLES_FILE, CAPTIONS_FILE)
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
        return _idx(path, labels)
    if not path.exists():
        raise DataError(f"{src}: no such file or folder")
    if not path.is_dir():
        raise DataError(f"{src}: not a folder, .zip, .tar, .parquet or *-images-idx3-ubyte[.gz] file")
    entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    if taken := _set_in(path, entries):
        if taken[0].suffix == ".tar":
            source = tars(src, labels, split)
        elif taken[0].suffix == ".parquet":
            source = _tables(src, taken, scratch, labels, split)
        else:
            source = _idx(_one_idx(src, taken, split), labels)
        _passed_by(path, entries, taken, source.left_out)
        return source
    if split is not None:
        for entry in entries:  # a folder of each split, with shards or tables in it
            if (
                entry.is_dir()
                and splits.of_folder(entry.name) == splits.same(split)
                and any(map(_is_set, entry.iterdir()))
            ):
                return open_source(str(entry), scratch, labels=labels)
    return folder(path, labels, split)


def _set_in(folder: Path, entries: Sequence[Path]) -> list[Path]:
    """The tars, tables or IDX files that a folder is taken for; none where its images are.

    Images in class folders go before what lies beside them, such as a backup; shards go before a folder of previews.
    """
    shards = [entry for entry in entries if entry.suffix == ".tar"]
    tables = [entry for entry in entries if entry.suffix == ".parquet" and not _of_index(entry)]
    pixels = [entry for entry in entries if entry.name.endswith(IDX_IMAGES)]
    if not (shards or tables or pixels):
        return []
    if not shards and tables and not any(map(holds_images, tables)) and _image_in(folder):
        return []  # such as the metadata.parquet of an image folder, which names its files
    if shards and (folder / SHARDS_FILE).is_file():
        return shards
    with_images = list(islice((entry for entry in entries if entry.is_dir() and _image_in(entry)), 2))
    stray = len(shards) == 1 and not re.search(r"\d", shards[0].stem)
    if len(with_images) == 2 or (with_images and stray):
        return []
    return shards or tables or pixels


def _of_index(path: Path) -> bool:
    return path.name in INDEX and not holds_images(path)


def _image_in(folder: Path) -> bool:
    return any(path.suffix.lower() in IMAGES for path in files_below(folder) if not path.name.startswith("."))


def _passed_by(folder: Path, entries: Sequence[Path], taken: Sequence[Path], left_out: LeftOut) -> None:
    """Note what lies beside the files that a folder is taken for."""
    beside = (entry for entry in entries if entry not in taken and not (entry.is_file() and _of_index(entry)))
    files = [path for entry in beside for path in (files_below(entry) if entry.is_dir() else [entry])]
    images = [path for path in files if path.suffix.lower() in IMAGES]
    left_out.note(f"images lie beside {taken[0].name} and are not taken", (path.relative_to(folder) for path in images))
    labels = [path for path in files if any(path.name == name for name in map(_idx_labels, taken))]
    left_out.skip(str(path) for path in files if path not in images and path not in labels)


def _idx_labels(path: Path) -> str:
    return path.name.replace("images", "labels").replace("idx3", "idx1")


def _one_idx(src: str, pixels: Sequence[Path], split: str | None) -> Path:
    if split is not None:
        pixels = list(map(Path, splits.files_of_split(src, list(map(str, pixels)), split)))
    if len(pixels) > 1:
        raise DataError(f"{src}: holds several sets of IDX files; name one: {', '.join(map(str, pixels))}")
    return pixels[0]


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
    left_out = LeftOut()
    files: dict[PurePosixPath, str] = {}
    for path in paths:
        name = PurePosixPath(path.replace("\\", "/").lstrip("/"))  # as some tools of Windows write them
        if not _visible(name):
            left_out.skip([f".{name.name}"])
            continue
        if name in files:
            left_out.note("names occur twice; the last was taken", [name])
        files[name] = path
    if wrapped or split is not None:
        files = _unwrapped(files, split)
    images = sorted((n for n in files if n.suffix.lower() in IMAGES), key=lambda n: n.parts)
    if not images:
        below = [name for name in files if _is_set(Path(name))]
        hint = f"; the folder {below[0].parent} in it holds *{below[0].suffix}: pack that" if below else ""
        raise DataError(f"{root}: holds no images ({' '.join(IMAGES)}){hint}{_what_else(files)}")
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
    beside = captions_beside(files, images, left_out)
    if split is not None:
        everything, (images, depth) = images, _of_split(root, images, depth, split)
        others = sorted(set(everything) - set(images))
        left_out.skipped.update({"of other splits": len(others)} if others else {})
        left_out.note(
            "images lie outside the splits",
            (name for name in others if len(name.parts) < depth + 2 or not splits.of_folder(name.parts[depth])),
        )

    def inside(name: PurePosixPath) -> tuple[str, ...]:
        """Its parts without the split."""
        if depth is None or len(name.parts) < depth + 2:
            return name.parts
        return name.parts[:depth] + name.parts[depth + 1 :]

    deep = [name for name in listings if len(inside(name)) > 1]
    left_out.note(f"{LISTING} in subfolders are not read", deep)
    listings = [name for name in listings if len(inside(name)) == 1]
    if depth == 0 and listings and labels is None:
        labels = "listing"
    class_names: list[str] = []
    if labels == "none":
        numbers = [-1] * len(images)
    elif labels == "listing":
        if not listings:
            raise DataError(f"{root}: holds no {LISTING}; put it there, or leave out --labels listing")
        numbers = listed(root, {name: read(files[name]) for name in listings}, images, set(map(str, files)), left_out)
    else:
        class_names, numbers = by_folder(root, [inside(name) for name in images], labels == "folders", left_out)
    left_out.note(
        "class numbers (.cls) beside images are not read; pack the tars that they come from",
        (name for name in files if name.suffix == ".cls"),
    )
    sets = [name for name in files if _is_set(Path(name))]
    left_out.note("tars or tables lie beside the images and are not taken", sets)
    told = {*sets, *deep, *(listings if labels == "listing" else ())}
    left_out.skip(
        str(name) for name in files if name not in told and name.suffix.lower() not in (".cls", ".txt", *IMAGES)
    )

    def sample(i: int) -> Sample:
        text = beside.get(images[i])
        caption = caption_of(read(files[text]), str(text), left_out) if text is not None else None
        return Sample(read(files[images[i]]), numbers[i], caption and caption.strip())

    return Source(len(images), sample, lambda i: f"{root}: {images[i]}", tuple(class_names), left_out)


def _what_else(files: Iterable[PurePosixPath]) -> str:
    others = LeftOut()
    others.skip(map(str, files))
    return f"; it holds {counts(others.skipped)}" if others.skipped else ""


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
    left_out = LeftOut()
    urls = list_shards(src, split)
    index = index_shards(urls, nowhere, base=src, labelled=labels != "none", left_out=left_out)
    shard, offset, size, label = (numbers(index.samples[name]) for name in ("shard", "offset", "size", "label"))
    urls = [index.url(i) for i in range(index.shards.num_rows)]

    def read(i: int) -> Sample:
        with Path(urls[shard[i]]).open("rb") as file:
            image = os.pread(file.fileno(), int(size[i]), int(offset[i]))
        return Sample(image, int(label[i]), index.samples["caption"][i].as_py())

    return Source(index.n, read, lambda i: f"{urls[shard[i]]}: {index.samples['key'][i].as_py()}", left_out=left_out)


def _idx(path: Path, labels: str | None) -> Source:
    _only(path, "IDX files", labels, ("none",))
    return idx(path, labels != "none")


def _tables(src: str, paths: list[Path], scratch: Path, labels: str | None, split: str | None) -> Source:
    _only(src, "Parquet tables", labels, ("column", "none"))
    return parquet([Path(path) for path in splits.files_of_split(src, list(map(str, paths)), split)], scratch, labels)
