"""A folder or a zip of images, sounds, clips or texts as a source: finds them, their splits and their labels.

`images` are the samples here, of any medium.
"""

import zipfile
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path, PurePosixPath

from gandist.data import splits
from gandist.data.classes import by_folder, captions_beside, listed
from gandist.data.idx import IDX_IMAGES
from gandist.data.samples import LeftOut, Sample, Source, caption_of, counts
from gandist.data.shots import folders_of_frames
from gandist.data.walk import files_below
from gandist.errors import DataError
from gandist.media.clip import Frames
from gandist.media.formats import FORMATS, Formats, medium_by_suffix, one_medium

LISTING = PurePosixPath("dataset.json")
"""File beside the images that holds their labels; subfolders are then no classes."""


def folder(
    root: Path,
    labels: str | None = None,
    split: str | None = None,
    left_out: LeftOut | None = None,
    medium: str | None = None,
) -> Source:
    """Images, sounds or clips in a folder. The class is the first subfolder, or comes from `dataset.json`; the caption
    is in a `.txt` file beside the image. What is left out is added to `left_out`, if given.

    Args:
        medium: what to take of a folder that holds several; None refuses it. Of "video" a folder of numbered pictures
            is a clip, too.
    """
    names = [path.relative_to(root).as_posix() for path in files_below(root)]
    return _tree(str(root), names, lambda name: (root / name).read_bytes(), labels, split, left_out, medium)


def zipped(
    path: Path,
    labels: str | None = None,
    split: str | None = None,
    left_out: LeftOut | None = None,
    medium: str | None = None,
) -> Source:
    """A zip with the layout of `folder`; a single folder around everything is ignored."""
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: cannot be read as a zip: {error}") from error
    names = [info.filename for info in archive.infolist() if not info.filename.endswith(("/", "\\"))]
    return _tree(str(path), names, archive.read, labels, split, left_out, medium, wrapped=True)


def _visible(name: PurePosixPath) -> bool:
    return not any(part.startswith((".", "__MACOSX")) for part in name.parts)


def _unwrapped(files: dict[PurePosixPath, str], split: str | None) -> dict[PurePosixPath, str]:
    """The files without the single folder around everything; with `split`, without all such folders above the
    splits."""
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
    left_out: LeftOut | None,
    medium: str | None,
    wrapped: bool = False,
) -> Source:
    check_labels(root, "files in folders", labels, ("folders", "listing", "none"))
    left_out = left_out or LeftOut()
    # Find the images and their split.
    files = _by_name(paths, left_out)
    if wrapped or split is not None:
        files = _unwrapped(files, split)
    medium = medium or _medium(root, files)
    formats = FORMATS[medium]
    pages: dict[PurePosixPath, list[str]] = {}
    if medium == "video":
        for shot, names in folders_of_frames(files, lambda name: read(files[name])).items():
            pages[shot] = [files.pop(name) for name in names]
            files[shot] = pages[shot][0]
    images = _images(root, files, formats, pages)
    if labels is None and LISTING in files:
        labels = "listing"
    depth = splits.level(images)
    if split is None:
        if depth is not None and labels is None:
            raise DataError(_are_splits(root, images, depth))
        depth = None
    beside = {} if medium == "text" else captions_beside(files, images, left_out, formats.noun)
    if split is not None:
        images, depth = _taken(root, images, depth, split, left_out, formats.plural)
    # Read their labels.
    listings, deeper = _listings(files, depth)
    left_out.note(f"{LISTING} in subfolders are not read", deeper)
    if depth == 0 and listings and labels is None:
        labels = "listing"
    class_names: list[str] = []
    if labels == "none":
        numbers = [-1] * len(images)
    elif labels == "listing":
        if not listings:
            raise DataError(f"{root}: holds no {LISTING}; put it there, or leave out --labels listing")
        numbers = listed(
            root, {name: read(files[name]) for name in listings}, images, set(map(str, files)), left_out, formats
        )
    else:
        parts = [_within_split(name, depth) for name in images]
        class_names, numbers = by_folder(root, parts, labels == "folders", left_out, formats)
    # Note the remaining files.
    _note_others(files, {*deeper, *images, *(listings if labels == "listing" else ())}, left_out, formats)

    def sample(i: int) -> Sample:
        text = beside.get(images[i])
        caption = caption_of(read(files[text]), str(text), left_out) if text is not None else None
        paths = pages.get(images[i])
        given = Frames(len(paths), lambda frame: read(paths[frame])) if paths else read(files[images[i]])
        return Sample(given, numbers[i], caption and caption.strip())

    def name(i: int) -> str:
        return f"{root}: {images[i]}"

    def key(i: int) -> str:
        return str(images[i].with_suffix(""))

    return Source(len(images), sample, name, tuple(class_names), left_out, key=key, medium=medium)


def _by_name(paths: Iterable[str], left_out: LeftOut) -> dict[PurePosixPath, str]:
    """The visible files: name -> path for reading."""
    files: dict[PurePosixPath, str] = {}
    for path in paths:
        name = PurePosixPath(path.replace("\\", "/").lstrip("/"))  # some Windows tools write backslashes
        if not _visible(name):
            left_out.skip([f".{name.name}"])
            continue
        if name in files:
            left_out.note("names occur twice; the last was taken", [name])
        files[name] = path
    return files


def _medium(root: str, files: Iterable[PurePosixPath]) -> str:
    """The medium of the files in a tree, images if there are none.

    Raises:
        DataError: there are several, such as images and sounds.
    """
    first: dict[str, PurePosixPath] = {}
    for name in sorted(files):
        if medium := medium_by_suffix(name.suffix):
            first.setdefault(medium, name)
    if len(first) > 1:
        first.pop("text", None)  # texts beside something else are its captions
    return one_medium(root, {medium: str(name) for medium, name in first.items()}) or "image"


def _images(
    root: str, files: Collection[PurePosixPath], formats: Formats, pages: Collection[PurePosixPath]
) -> list[PurePosixPath]:
    """The images, sounds or clips among files, sorted; `pages` are clips that are folders.

    Raises:
        DataError: there are none; the message says what there is instead.
    """
    found = (name for name in files if name.suffix.lower() in formats.packed or name in pages)
    images = sorted(found, key=lambda name: name.parts)
    if not images:
        below = [name for name in files if is_of_another_set(Path(name))]
        hint = f"; the folder {below[0].parent} in it holds *{below[0].suffix}: pack that" if below else ""
        raise DataError(f"{root}: holds no {formats.plural} ({' '.join(formats.packed)}){hint}{_what_else(files)}")
    return images


def _within_split(name: PurePosixPath, depth: int | None) -> tuple[str, ...]:
    """The parts of a name without the split's folder, which is at this depth."""
    if depth is None or len(name.parts) < depth + 2:
        return name.parts
    return name.parts[:depth] + name.parts[depth + 1 :]


def _listings(files: Iterable[PurePosixPath], depth: int | None) -> tuple[list[PurePosixPath], list[PurePosixPath]]:
    """The listings at the top or in a split's folder, and the listings below."""
    listings = [name for name in files if name.name == LISTING.name]
    at_top = [name for name in listings if len(_within_split(name, depth)) == 1]
    return at_top, [name for name in listings if len(_within_split(name, depth)) > 1]


def _note_others(
    files: Collection[PurePosixPath], told: Collection[PurePosixPath], left_out: LeftOut, formats: Formats
) -> None:
    """Note the unused files, except those already reported."""
    left_out.note(
        f"class numbers (.cls) beside {formats.plural} are not read; pack the tars that they come from",
        (name for name in files if name.suffix == ".cls"),
    )
    sets = [name for name in files if is_of_another_set(Path(name))]
    left_out.note(f"tars or tables lie beside the {formats.plural} and are not taken", sets)
    told = {*sets, *told}
    left_out.skip(
        str(name) for name in files if name not in told and name.suffix.lower() not in (".cls", ".txt", *formats.packed)
    )


def _what_else(files: Iterable[PurePosixPath]) -> str:
    others = LeftOut()
    others.skip(map(str, files))
    return f"; it holds {counts(others.skipped)}" if others.skipped else ""


def _splits_at(images: Iterable[PurePosixPath], depth: int) -> list[str]:
    parts = {name.parts[depth] for name in images if len(name.parts) > depth + 1}
    return sorted(filter(splits.of_folder, parts), key=lambda part: (splits.of_folder(part) != "train", part))


def _are_splits(root: str, images: Iterable[PurePosixPath], depth: int) -> str:
    """The message that explains why a tree with splits is not taken as classes."""
    found = _splits_at(images, depth)
    return (
        f"{root}: {', '.join(found)} are splits and no classes; take one (--split {found[0]}), or --split "
        f"{splits.ALL} for all; pass --labels folders if they are classes, --labels none for no classes"
    )


def _taken(
    root: str, everything: list[PurePosixPath], depth: int | None, split: str, left_out: LeftOut, what: str
) -> tuple[list[PurePosixPath], int]:
    """The images of a split, and the depth of its folder; the others are noted."""
    images, depth = _of_split(root, everything, depth, split)
    others = sorted(set(everything) - set(images))
    left_out.skipped.update({"of other splits": len(others)} if others else {})
    left_out.note(
        f"{what} lie outside the splits",
        (name for name in others if len(name.parts) < depth + 2 or not splits.of_folder(name.parts[depth])),
    )
    return images, depth


def _of_split(root: str, images: list[PurePosixPath], depth: int | None, split: str) -> tuple[list[PurePosixPath], int]:
    """The images of a split, and the depth of its folder."""
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


def is_of_another_set(path: Path) -> bool:
    """Whether a file belongs to a set that is not a tree of images."""
    return path.suffix in (".tar", ".parquet") or path.name.endswith(IDX_IMAGES)


def check_labels(src: object, kind: str, labels: str | None, allowed: Sequence[str]) -> None:
    if labels is not None and labels not in allowed:
        raise DataError(f"{src}: --labels {labels} is not for {kind}; pass --labels {' or '.join(allowed)}, or nothing")
