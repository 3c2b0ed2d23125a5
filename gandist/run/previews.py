"""Samples that a run shows as it trains: `samples/NNNNNNNN.png`, and the sounds that are heard, in a folder beside it.

NNNNNNNN is the number of images seen. `samples/NNNNNNNN/0.wav` and so on are the preview's sounds.
"""

from pathlib import Path
from typing import NamedTuple

import pyarrow.fs as pafs

from gandist.media.medium import SOUNDS, Preview
from gandist.storage.remote import filesystem
from gandist.storage.storage import Storage

FOLDER = "samples"
STILL = "strip.png"
"""The frames of a preview that plays, side by side."""


class Listed(NamedTuple):
    """A preview in a run's folder."""

    file: str
    size: int
    """Bytes, without its sounds."""


def write(storage: Storage, images_seen: int, preview: Preview) -> None:
    """Write a preview; its sounds first, so that whoever sees it finds them."""
    name = f"{FOLDER}/{images_seen:08d}"
    if preview.sounds:
        sounds = {f"{number}.wav": sound for number, sound in enumerate(preview.sounds)}
        storage.write_folder(name, sounds, last=f"{len(sounds) - 1}.wav")
    if preview.still:
        storage.write_folder(name, {STILL: preview.still}, last=STILL)
    storage.write_bytes(f"{name}{preview.suffix}", preview.content)


def listed(storage: Storage) -> dict[int, Listed]:
    """The previews by images seen, oldest first."""
    fs, path = filesystem(storage.root)
    infos = fs.get_file_info(pafs.FileSelector(f"{path}/{FOLDER}", allow_not_found=True))
    found = {Path(info.base_name).stem: Listed(info.base_name, info.size) for info in infos if info.is_file}
    return {int(stem): found[stem] for stem in sorted(found) if stem.isdigit()}


def read(storage: Storage, file: str, most: int = SOUNDS) -> Preview:
    """A preview by the name of its file, with `most` of its sounds."""
    stem, suffix = Path(file).stem, Path(file).suffix
    folder = f"{FOLDER}/{stem}"
    names = storage.files(folder) if most else []
    heard = sorted((name for name in names if name.endswith(".wav")), key=lambda name: (len(name), name))[:most]
    return Preview(
        storage.read_bytes(f"{FOLDER}/{file}") or b"",
        suffix,
        tuple(storage.read_bytes(f"{folder}/{name}") or b"" for name in heard),
        (storage.read_bytes(f"{folder}/{STILL}") or b"") if suffix == ".webp" else b"",
    )
