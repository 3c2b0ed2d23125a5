"""Samples that a run shows as it trains: `samples/NNNNNNNN.png`, or `.webp` if they play, with more in a folder beside.

NNNNNNNN is the number of images seen. `samples/NNNNNNNN/0.wav` and so on are the preview's sounds; of a preview that
plays, `samples/NNNNNNNN/strip.png` has the frames side by side.
"""

from pathlib import Path
from typing import NamedTuple

import pyarrow.fs as pafs

from gandist.media.medium import PLAYS, SOUNDS, STILL, Preview
from gandist.storage.remote import filesystem
from gandist.storage.storage import Storage

FOLDER = "samples"


class Listed(NamedTuple):
    """A preview in a run's folder."""

    file: str
    size: int
    """Bytes, without what lies in its folder."""


def write(storage: Storage, images_seen: int, preview: Preview) -> None:
    """Write a preview; its sounds and its strip first, so that whoever sees it finds them."""
    name = f"{FOLDER}/{images_seen:08d}"
    beside = {f"{number}.wav": sound for number, sound in enumerate(preview.sounds)}
    beside |= {STILL: preview.still} if preview.still else {}
    if beside:
        storage.write_folder(name, beside, last=[*beside][-1])
    storage.write_bytes(f"{name}{preview.suffix}", preview.content)


def listed(storage: Storage) -> dict[int, Listed]:
    """The previews by images seen, oldest first."""
    fs, path = filesystem(storage.root)
    infos = fs.get_file_info(pafs.FileSelector(f"{path}/{FOLDER}", allow_not_found=True))
    found = {Path(info.base_name).stem: Listed(info.base_name, info.size) for info in infos if info.is_file}
    return {int(stem): found[stem] for stem in sorted(found) if stem.isdigit()}


def strips(storage: Storage) -> dict[int, int]:
    """Bytes of the strips of previews that play, by images seen."""
    fs, path = filesystem(storage.root)
    infos = fs.get_file_info(pafs.FileSelector(f"{path}/{FOLDER}", allow_not_found=True, recursive=True))
    sizes = {Path(info.path).parent.name: info.size for info in infos if info.base_name == STILL}
    return {int(stem): size for stem, size in sizes.items() if stem.isdigit()}


def read_strip(storage: Storage, images_seen: int) -> Preview:
    """The frames of a preview that plays, as a picture."""
    return Preview(storage.read_bytes(f"{FOLDER}/{images_seen:08d}/{STILL}") or b"", ".png")


def read(storage: Storage, file: str, most: int = SOUNDS) -> Preview:
    """A preview by the name of its file, with `most` of its sounds, and with its strip if it plays."""
    stem, suffix = Path(file).stem, Path(file).suffix
    folder = f"{FOLDER}/{stem}"
    names = storage.files(folder) if most else []
    heard = sorted((name for name in names if name.endswith(".wav")), key=lambda name: (len(name), name))[:most]
    return Preview(
        storage.read_bytes(f"{FOLDER}/{file}") or b"",
        suffix,
        tuple(storage.read_bytes(f"{folder}/{name}") or b"" for name in heard),
        (storage.read_bytes(f"{folder}/{STILL}") or b"") if suffix == PLAYS else b"",
    )
