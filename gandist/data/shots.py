"""Folders of numbered pictures, each of which is one clip."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import PurePosixPath

from gandist.errors import DataError
from gandist.media.clip import ANIMATIONS
from gandist.media.containers import kind_of, timing
from gandist.media.formats import APART, FORMATS

AT_TOP = PurePosixPath("frames")
"""The name of the clip whose pictures lie in the source itself."""


def folders_of_frames(
    names: Iterable[PurePosixPath], read: Callable[[PurePosixPath], bytes]
) -> dict[PurePosixPath, list[PurePosixPath]]:
    """The folders that are a clip, with their pictures in the order of their numbers.

    Such a folder has no folders of its own, and holds two or more pictures of one format with a number in their names
    and no other samples. The first picture is no animation.
    """
    held: dict[PurePosixPath, list[PurePosixPath]] = defaultdict(list)
    for name in names:
        if name.suffix.lower() in APART:
            held[name.parent].append(name)
    around = {parent for folder in held for parent in folder.parents}
    found = {}
    for folder, samples in held.items():
        suffixes = {name.suffix.lower() for name in samples}
        pictures = len(suffixes) == 1 and suffixes <= set(FORMATS["image"].packed)
        if folder in around or not pictures or len(samples) < 2 or not all(re.search(r"\d", n.stem) for n in samples):
            continue
        pages = sorted(samples, key=_natural)
        if not _moves(read(pages[0])):
            found[AT_TOP if folder == PurePosixPath() else folder] = pages
    return found


def _natural(name: PurePosixPath) -> list[tuple[int, str]]:
    """A key that orders names by their numbers: 9.png before 10.png."""
    parts = re.split(r"(\d+)", name.stem)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _moves(data: bytes) -> bool:
    try:
        kind = kind_of(data)
        return kind in ANIMATIONS and len(timing(data, kind).shown_ms) > 1
    except DataError:
        return False
